//! Planning a commit: which operation counts, which slot and version it replaces, where its record goes.

use crate::error::Result;
use crate::format::hash::Hash;
use crate::format::record::{self, Before};
use crate::index::{First, Place, Probe};
use crate::log::Record;

use super::many::GROUP;
use super::{Op, Reader, Writer};

/// What one operation will do. Kept between commits for its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) hash: Hash,
    /// The operation does nothing: a later one has the same key, or it deletes what is not there.
    pub(super) skip: bool,
    /// The key's slot, if it has one.
    pub(super) place: Option<Place>,
    /// Where a slot for a new key was free when this was planned.
    pub(super) vacant: Option<Place>,
    /// Position, size and liveness of the version that the slot holds.
    pub(super) prev: u64,
    pub(super) prev_size: u64,
    pub(super) live_before: bool,
    /// Where the record goes.
    pub(super) position: u64,
    pub(super) size: u64,
}

/// How a key's lookup began, and what its page says at first sight.
pub(super) type Look = (Option<Probe>, First);

/// Memory for planning, used again by every commit.
#[derive(Debug, Default)]
pub(super) struct Plans {
    pub(super) plans: Vec<Plan>,
    /// An open-addressed table of operation numbers plus one, to find keys that occur twice.
    seen: Vec<u32>,
}

impl Plan {
    /// Of a key with this hash, whose record will take `size` bytes: nothing else is known.
    pub(super) fn new(hash: Hash, size: u64) -> Plan {
        Plan {
            hash,
            skip: false,
            place: None,
            vacant: None,
            prev: 0,
            prev_size: 0,
            live_before: false,
            position: 0,
            size,
        }
    }
}

impl Plans {
    /// Of several operations on one key only the last counts: a batch shows each key at one version.
    fn skip_overwritten(&mut self, ops: &[Op<'_>]) {
        let slots = (ops.len() * 2).next_power_of_two();
        self.seen.clear();
        self.seen.resize(slots, 0);
        for (i, op) in ops.iter().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a hash is cut to the table's size"
            )]
            let mut at = self.plans[i].hash.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) as usize >> 8;
            loop {
                at &= slots - 1;
                let Some(other) = self.seen[at].checked_sub(1) else { break };
                let other = other as usize;
                if self.plans[other].hash == self.plans[i].hash
                    && ops[other].table == op.table
                    && ops[other].key == op.key
                {
                    self.plans[other].skip = true;
                    break;
                }
                at += 1;
            }
            self.seen[at] =
                u32::try_from(i + 1).expect("batches are limited to 2^32 - 1 operations");
        }
    }
}

impl Reader<'_> {
    /// Plans all operations but for the positions; returns how many keys are new to the index.
    pub(super) fn plan(self, writer: &mut Writer, ops: &[Op<'_>]) -> Result<usize> {
        let mut plans = std::mem::take(&mut writer.plans);
        let result = self.plan_into(writer, &mut plans, ops);
        writer.plans = plans;
        result
    }

    fn plan_into(self, writer: &Writer, plans: &mut Plans, ops: &[Op<'_>]) -> Result<usize> {
        plans.plans.clear();
        let hashes = ops.iter().map(|op| self.begin(op));
        plans.plans.extend(hashes);
        plans.skip_overwritten(ops);
        let mut new_keys = 0;
        for (plans, ops) in plans.plans.chunks_mut(GROUP).zip(ops.chunks(GROUP)) {
            let firsts = self.look(plans, writer.tail.position);
            for ((plan, op), first) in plans.iter_mut().zip(ops).zip(&firsts) {
                if !plan.skip {
                    self.plan_one(writer, plan, op, first)?;
                    new_keys += usize::from(!plan.skip && plan.place.is_none());
                }
            }
        }
        Ok(new_keys)
    }

    /// Has a first look at the pages of a group of operations, and brings the records they lead to into the caches, as
    /// `get_many` does.
    fn look(self, plans: &[Plan], reference: u64) -> [Look; GROUP] {
        let mut looks = [const { (None, First::Unsure) }; GROUP];
        for (plan, (probe, _)) in plans.iter().zip(&mut looks) {
            let begun = self.engine.index.begin(plan.hash);
            self.engine.index.prefetch_entry(&begun);
            *probe = Some(begun);
        }
        let used = &mut looks[..plans.len()];
        for (probe, _) in used.iter_mut() {
            *probe = probe.and_then(|probe| self.engine.index.enter(probe));
            if let Some(probe) = probe {
                self.engine.index.prefetch_page_to_store(probe);
            }
        }
        for (probe, first) in used.iter_mut() {
            if let Some(probe) = probe {
                *first = self.engine.index.first(probe, reference);
                if let First::Candidate(_, position) = *first {
                    self.log.prefetch(position);
                }
            }
        }
        looks
    }

    /// Finds what one operation replaces, from a first look at its page or the long way.
    pub(super) fn plan_one(
        self,
        writer: &Writer,
        plan: &mut Plan,
        op: &Op<'_>,
        look: &Look,
    ) -> Result<()> {
        if !self.plan_quickly(writer, plan, op, look) {
            let reference = writer.tail.position;
            let found =
                writer.editor.locate(&self.engine.index, plan.hash, reference, |position| {
                    let record = self.log.record(position)?;
                    Ok(record.is(op.table, op.key).then_some(record))
                })?;
            if let Some((place, record)) = found {
                plan.replaces(place, &record);
            }
        }
        plan.skip = op.value.is_none() && !plan.live_before;
        Ok(())
    }

    /// The same if the first look settles it; false if it does not.
    #[inline]
    fn plan_quickly(self, writer: &Writer, plan: &mut Plan, op: &Op<'_>, look: &Look) -> bool {
        match look {
            (Some(probe), First::Absent(word)) => {
                plan.vacant = (*word != 0).then(|| writer.editor.place(probe, *word));
                true
            }
            (Some(probe), First::Candidate(word, position)) => {
                match self.log.mapped(*position).filter(|record| record.is(op.table, op.key)) {
                    Some(record) => {
                        plan.replaces(writer.editor.place(probe, *word), &record);
                        true
                    }
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// What is known of an operation before anything is looked up.
    #[inline]
    fn begin(self, op: &Op<'_>) -> Plan {
        let hash = self.engine.hasher.hash(op.table, op.key);
        Plan::new(hash, record::size(op.key.len(), op.value_len()))
    }

    /// A first look for one operation by itself, which asks for the record that it leads to.
    #[inline]
    pub(super) fn look_alone(self, plan: &Plan, reference: u64) -> Look {
        let probe = self.engine.index.enter(self.engine.index.begin(plan.hash));
        let first = probe.map_or(First::Unsure, |probe| self.engine.index.first(&probe, reference));
        if let First::Candidate(_, position) = first {
            self.log.prefetch(position);
        }
        (probe, first)
    }

    /// A plan for one operation by itself.
    #[cfg(test)]
    pub(super) fn plan_single(self, writer: &Writer, op: &Op<'_>) -> Result<Plan> {
        let mut plan = self.begin(op);
        let look = self.look_alone(&plan, writer.tail.position);
        self.plan_one(writer, &mut plan, op, &look)?;
        Ok(plan)
    }
}

impl Plan {
    /// What the record says of the version before it.
    pub(super) fn before(&self) -> Before {
        Before { prev: self.prev, live: self.live_before }
    }

    fn replaces(&mut self, place: Place, record: &Record<'_>) {
        self.place = Some(place);
        self.prev = record.position();
        self.prev_size = record.header().size();
        self.live_before = record.is_put();
    }
}
