//! How much was tried: cuts, kills, and what the stores went through.

use std::cell::Cell;
use std::time::Instant;

use mapstone::sim::Point;

use super::points;

/// What a thread has tried.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) stories: u64,
    /// Power cuts, each followed by a recovery and a comparison.
    pub(crate) cuts: u64,
    pub(crate) kills: u64,
    /// Crashes in the middle of an open: of a recovery, or of the recovery of that.
    pub(crate) in_recovery: u64,
}

thread_local! {
    static TALLY: Cell<Tally> = Cell::default();
}

/// Counts something.
pub(crate) fn count(what: impl FnOnce(&mut Tally)) {
    let mut tally = TALLY.get();
    what(&mut tally);
    TALLY.set(tally);
}

/// What this thread has tried so far.
pub(crate) fn now() -> Tally {
    TALLY.get()
}

/// A time in which a thread tries things.
pub(crate) struct Watch {
    start: Instant,
    before: Tally,
}

impl Watch {
    pub(crate) fn start() -> Watch {
        points::take_reached();
        Watch { start: Instant::now(), before: now() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Says what was tried since the start, and how often each rare thing came to pass.
    pub(crate) fn report(&self, what: &str) -> Passed {
        let (now, before, seconds) = (now(), self.before, self.seconds());
        let cuts = now.cuts - before.cuts;
        let passed = Passed(points::take_reached());
        println!(
            "{what}: {} stories, {cuts} cuts ({:.0} a second), {} kills, {} of both during recovery, {seconds:.1} s",
            now.stories - before.stories,
            cuts as f64 / seconds,
            now.kills - before.kills,
            now.in_recovery - before.in_recovery,
        );
        let counts = passed.all().map(|(name, count)| format!("{count} {name}"));
        println!("{what}: {}", counts.collect::<Vec<_>>().join(", "));
        println!("{what}: points never reached: {:?}", passed.missed());
        passed
    }
}

/// How often each crash point was passed.
pub(crate) struct Passed(Vec<u64>);

impl Passed {
    fn of(&self, point: Point) -> u64 {
        self.0[point as usize]
    }

    /// What a soak must reach, and how often it has.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let begun = [Point::CreateLog, Point::SealBegun, Point::SealReplaced].map(|at| self.of(at));
        let rolls = self.of(Point::SegmentDurable).saturating_sub(begun.iter().sum());
        [
            ("segment rolls", rolls),
            ("segments that were made before", self.of(Point::SpareNamed)),
            ("splits", self.of(Point::SplitEnded)),
            ("chain links", self.of(Point::ChainLed)),
            ("directory doublings", self.of(Point::DoubleSwitched)),
            ("checkpoints", self.of(Point::CheckpointReleased)),
            ("restores", self.of(Point::RestoreTrusted)),
            ("resumes", self.of(Point::ResumeDirtied)),
        ]
        .into_iter()
    }

    /// Points that were never reached.
    fn missed(&self) -> Vec<&'static str> {
        let missed = Point::ALL.iter().filter(|point| self.of(**point) == 0);
        missed.map(|point| point.name()).collect()
    }
}
