//! Which segment comes next: the one that wins most for what it costs, or one that has grown too old.
//!
//! "Space won per byte moved" is the cost-benefit rule of log-structured file systems (Rosenblum and Ousterhout, 1991) without
//! their age term: a hash index knows nothing of which keys are hot.

use crate::error::Result;
use crate::format::page::OLDEST;

use super::super::{Engine, WriterHalf};
use super::{Compactor, Effort};

/// A thorough compaction moves a segment if at least this many percent of it are won.
const WORTH: u64 = 5;

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

impl Engine {
    /// The segment to compact next, if one is worth it.
    pub(super) fn pick(
        &self,
        half: &WriterHalf,
        compactor: &mut Compactor,
        effort: Effort,
    ) -> Result<Option<u64>> {
        let (tail, live) = {
            let writer = half.lock();
            (writer.tail, writer.counters.live_bytes)
        };
        let closed: Vec<u64> =
            self.log.numbers()?.into_iter().filter(|n| *n < tail.segment).collect();
        let oldest = closed.iter().copied().find(|number| !compactor.has(*number));
        let Some(oldest) = oldest else { return Ok(None) };
        // A slot holds a part of a position, so no record may fall too far behind the end of the log.
        let behind = tail.position.saturating_sub(oldest * self.superblock.segment_bytes);
        // More than half of that alive would be moved round and round.
        let allowed = self.oldest_allowed();
        if behind > allowed && live < allowed / 2 {
            return Ok(Some(oldest));
        }
        let mut total = tail.position.saturating_sub(tail.segment * self.superblock.segment_bytes);
        let mut best = None::<Candidate>;
        for number in closed.iter().copied().filter(|number| !compactor.has(*number)) {
            let (Some(used), Some(live)) = (self.usage.used(number), self.usage.live(number))
            else {
                continue;
            };
            total += used;
            // Where nothing is older, tombstones hide nothing, and stay behind.
            let cost = live.puts + if number == oldest { 0 } else { live.tombstones };
            let candidate = Candidate { number, used, cost };
            if best.is_none_or(|best| candidate.beats(&best)) {
                best = Some(candidate);
            }
        }
        let Effort::Above(percent) = effort else {
            return Ok(best.filter(|best| best.is_worth(WORTH)).map(|best| best.number));
        };
        let dead = total.saturating_sub(live).saturating_mul(100);
        let percent = u64::from(percent.min(100));
        // Once it has begun it goes on for a while, so that it does not begin again at every commit.
        let wanted = if compactor.eager { percent * 3 / 4 } else { percent };
        compactor.eager = dead > total.saturating_mul(wanted);
        if !compactor.eager {
            return Ok(None);
        }
        // When all that is dead is tombstones that still hide something, the oldest segment has to go first.
        let best = best.filter(|best| best.is_worth(percent / 4)).map(|best| best.number);
        Ok(best.or(Some(oldest)))
    }

    #[cfg(not(any(test, feature = "sim")))]
    fn oldest_allowed(&self) -> u64 {
        OLDEST
    }

    #[cfg(any(test, feature = "sim"))]
    fn oldest_allowed(&self) -> u64 {
        OLDEST.min(self.rigged_age)
    }
}
