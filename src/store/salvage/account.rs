//! What a salvage tells in the end: files and offsets instead of positions, names instead of numbers.

use crate::format::position::Position;
use crate::format::segment;

use super::Damaged;
use super::keys::Guess;
use super::lost::Place;
use super::report::{Extent, LostKey, Salvage};
use super::runs::Run;
use super::tables::Tables;

impl Damaged {
    /// All that was found and lost.
    pub(super) fn report(&mut self, mut guesses: Vec<Guess>, tables: &mut Tables) -> Salvage {
        let mut salvage = std::mem::take(&mut self.salvage);
        salvage.position = Position(self.end);
        salvage.lost = self.lost.places.iter().map(|place| self.extent(place.clone())).collect();
        for (name, why) in &self.strays {
            let place = Place { name: name.clone(), from: 0, to: 0, why: why.clone() };
            salvage.lost.push(self.extent(place));
        }
        salvage.torn = self.torn();
        salvage.renamed = tables.made_up();
        guesses.retain(|guess| !tables.is_dropped(guess.table, guess.position));
        salvage.keys = guesses
            .into_iter()
            .map(|guess| {
                let (name, offset) = self.place(guess.position);
                LostKey {
                    table: tables.name(guess.table).map(str::to_owned),
                    key: guess.key,
                    file: self.disk.root().join(name),
                    offset,
                    older: guess.older,
                }
            })
            .collect();
        salvage
    }

    /// The file and the offset of a position.
    fn place(&self, position: u64) -> (String, u64) {
        let after = self.pieces.partition_point(|piece| piece.start <= position);
        let piece = after.checked_sub(1).map(|at| &self.pieces[at]);
        match piece.filter(|piece| position < piece.end()) {
            Some(piece) => (piece.name.clone(), position - piece.start),
            None => {
                let size = self.identity.segment_bytes;
                (segment::name(position / size), position % size)
            }
        }
    }

    fn extent(&self, place: Place) -> Extent {
        let Place { name, from, to, why } = place;
        Extent { file: self.disk.root().join(name), from, to, why }
    }

    /// What stands between a gap and the marks before and after it: of batches that may not be whole.
    fn torn(&self) -> Vec<Extent> {
        let mut torn = Vec::new();
        let mut add = |run: &Run, from: u64, to: u64, why: &str| {
            if from < to {
                let piece = &self.pieces[run.piece];
                let (name, why) = (piece.name.clone(), why.to_owned());
                let (from, to) = (from - piece.start, to - piece.start);
                torn.push(self.extent(Place { name, from, to, why }));
            }
        };
        // Whether the batch that a run begins in has lost its beginning.
        let mut headless = false;
        // Runs that go on a batch whose beginning is there, and may have lost its end.
        let mut open: Vec<(&Run, u64)> = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            headless |= !run.joined;
            if headless {
                add(run, run.from, run.first_mark.unwrap_or(run.to), "what was before it is lost");
            }
            headless &= run.first_mark.is_none();
            if run.last_mark.is_some() {
                open.clear();
            }
            if !headless {
                open.push((run, run.last_mark.unwrap_or(run.from)));
            }
            if self.runs.get(at + 1).is_none_or(|next| !next.joined) {
                for (run, from) in open.drain(..) {
                    add(run, from, run.to, "what was after it is lost");
                }
            }
        }
        torn
    }
}
