//! Which segment comes next: the one that wins most for what it costs, or one that has grown too old.
//!
//! "Space won per byte moved" is the cost-benefit rule of log-structured file systems (Rosenblum and Ousterhout, 1991) without
//! their age term: a hash index knows nothing of which keys are hot.

use crate::error::Result;
use crate::format::meta::Counters;
use crate::log::Tail;

use super::super::{Engine, WriterHalf};
use super::{Compactor, Effort};

/// A thorough compaction moves a segment if at least this many percent of it are won.
const WORTH: u64 = 5;

/// Moving all segments because the log is too long.
#[derive(Clone, Copy, Debug)]
pub(super) enum Round {
    /// Not before the log ends here.
    Rest(u64),
    /// As long as there is a segment before this one.
    To(u64),
}

impl Default for Round {
    fn default() -> Round {
        Round::Rest(0)
    }
}

/// A segment that could be compacted.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    number: u64,
    used: u64,
    /// Bytes that must be moved.
    cost: u64,
}

impl Candidate {
    fn won(&self) -> u64 {
        self.used.saturating_sub(self.cost)
    }

    /// Wins more for its cost than `other`: an empty segment wins over every other.
    fn beats(&self, other: &Candidate) -> bool {
        let score = |a: &Candidate, b: &Candidate| u128::from(a.won()) * (u128::from(b.cost) + 1);
        score(self, other) > score(other, self)
    }

    fn is_worth(&self, percent: u64) -> bool {
        self.used == 0 || self.won().saturating_mul(100) >= self.used.saturating_mul(percent)
    }
}

impl Compactor {
    /// Whether the log is too long, and the oldest segment is to be moved therefore: each that there was, once. What is alive may
    /// not fit into less; then this helps no more before much is written again.
    fn goes_round(&mut self, oldest: u64, tail: Tail, live: u64) -> bool {
        match self.round {
            Round::Rest(until) if tail.position < until => return false,
            Round::Rest(_) => self.round = Round::To(tail.segment),
            Round::To(end) if oldest >= end => {
                self.round = Round::Rest(tail.position + live / 2);
                return false;
            }
            Round::To(_) => {}
        }
        true
    }
}

impl Engine {
    /// The segment to compact next, if one is worth it.
    pub(super) fn pick(
        &self,
        half: &WriterHalf,
        compactor: &mut Compactor,
        effort: Effort,
    ) -> Result<Option<u64>> {
        // As of the last commit: a segment that was begun for one which was given up is not where the log ends.
        let Counters { position, segment, live_bytes: live, .. } =
            self.claim(half, half.lock_timeout)?.counters;
        let tail = Tail { position, segment };
        let numbers = self.log.numbers()?;
        let end = self.first_kept(&numbers)?.map_or(segment, |kept| kept.min(segment));
        let closed = numbers.into_iter().filter(|number| *number < end);
        let mut left = closed.filter(|number| !compactor.has(*number)).peekable();
        let Some(oldest) = left.peek().copied() else { return Ok(None) };
        let behind =
            tail.position.saturating_sub(oldest.saturating_mul(self.superblock.segment_bytes));
        let start = tail.segment.saturating_mul(self.superblock.segment_bytes);
        let mut total = tail.position.saturating_sub(start);
        let mut best = None::<Candidate>;
        let mut first = None::<Candidate>;
        for number in left {
            // Of which that is not known, its end cannot be told from damage: it stays.
            let (Some(used), Some(live)) = (self.usage.used(number), self.usage.live(number))
            else {
                continue;
            };
            total = total.saturating_add(used);
            // Where nothing is older, tombstones hide nothing, and stay behind.
            let tombstones = if number == oldest { 0 } else { live.tombstones };
            let cost = live.puts.saturating_add(tombstones);
            let candidate = Candidate { number, used, cost };
            first = first.or(Some(candidate));
            if best.is_none_or(|best| candidate.beats(&best)) {
                best = Some(candidate);
            }
        }
        let number = |it: Option<Candidate>| it.map(|it| it.number);
        if behind > self.span().to_move(live) && compactor.goes_round(oldest, tail, live) {
            return Ok(number(first));
        }
        let Effort::Above(percent) = effort else {
            return Ok(number(best.filter(|best| best.is_worth(WORTH))));
        };
        let dead = total.saturating_sub(live).saturating_mul(100);
        let percent = u64::from(percent.min(100));
        compactor.behind = dead > total.saturating_mul(50);
        // Once it has begun it goes on for a while, so that it does not begin again at every commit.
        let wanted = if compactor.eager { percent * 3 / 4 } else { percent };
        compactor.eager = dead > total.saturating_mul(wanted);
        if !compactor.eager {
            return Ok(None);
        }
        // When all that is dead is tombstones that still hide something, the oldest segment has to go first.
        Ok(number(best.filter(|best| best.is_worth(percent / 4)).or(first)))
    }
}
