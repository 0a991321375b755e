//! Stories with a name: each lost data once, or would if the rule that it is named after were broken.

use super::ops::{Crash, How, Op, Recovery, Shape};
use super::state::Val;
use super::world::World;

fn put(key: u16, seed: u32) -> Op {
    Op::Put { table: 0, key, value: Val::new(seed, 20), how: How::Plain }
}

fn cut() -> Op {
    Op::Crash { how: Crash::Cut, recovery: Recovery::default() }
}

/// The slot rule's own story: v1 is durable, v2 and v3 are not and share the slot with it; a checkpoint that were not quiet
/// would cover v2, and the cut that takes v3 would leave the slot with v1 alone.
#[test]
fn a_checkpoint_at_a_place_that_is_not_quiet_would_lose_a_version() {
    for seed in 0..40 {
        let shape = Shape { seed, interval: 1 << 30, ..Shape::default() };
        let write_back = Op::WriteBack(u8::try_from(seed % 5).expect("small"));
        let story = [
            put(1, 1),
            Op::Sync,
            put(1, 2),
            put(1, 3),
            Op::Checkpoint,
            put(1, 4),
            write_back,
            cut(),
        ];
        World::new(shape).live(&story);
    }
}
