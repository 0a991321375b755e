//! The checker on histories of which it is known whether they are linearizable, and against one that tries all orders.

use fastrand::Rng;

use crate::call::{Call, KEEP, Kind, Op, State, TORN};
use crate::checker::check;
use crate::witness::witness;

fn call(kind: Kind, mask: u8, seen: State, new: State, wrote: Option<bool>) -> Call {
    Call { kind, mask, seen, new, wrote }
}

/// Of the first key.
fn reads(seen: u64) -> Call {
    call(Kind::Read, 1, [seen, 0], [KEEP; 2], Some(false))
}

fn reads_both(seen: State) -> Call {
    call(Kind::Read, 3, seen, [KEEP; 2], Some(false))
}

fn writes(new: u64) -> Call {
    call(Kind::Write, 0, [0; 2], [new, KEEP], Some(true))
}

fn writes_both(new: State) -> Call {
    call(Kind::Write, 0, [0; 2], new, Some(true))
}

fn swaps(seen: u64, new: u64) -> Call {
    call(Kind::Swap, 1, [seen, 0], [new, KEEP], Some(true))
}

fn deletes(wrote: bool) -> Call {
    call(Kind::Delete, 1, [0; 2], [0, KEEP], Some(wrote))
}

fn compares(expected: u64, new: u64, wrote: bool) -> Call {
    call(Kind::Cas, 1, [expected, 0], [new, KEEP], Some(wrote))
}

/// Reads the keys of `mask` and writes the first or the second one.
fn guarded(mask: u8, seen: State, new: State, wrote: bool) -> Call {
    call(Kind::Guarded, mask, seen, new, Some(wrote))
}

/// A call from one moment to another.
fn op(invoked: u64, returned: u64, call: Call) -> Op {
    Op { who: 1, call, invoked, returned: Some(returned) }
}

/// One that was begun, and whose process was killed.
fn lost(invoked: u64, call: Call) -> Op {
    Op { who: 2, call: Call { wrote: None, ..call }, invoked, returned: None }
}

fn right(ops: &[Op]) {
    if let Err(stuck) = check(ops) {
        panic!("{}", witness(ops, &stuck));
    }
}

/// The call at `at` is the one that cannot be explained.
fn wrong(ops: &[Op], at: usize) {
    let stuck = check(ops).expect_err("it is not linearizable");
    assert_eq!(stuck.op, at, "{}", witness(ops, &stuck));
}

#[test]
fn what_happens_one_after_the_other_must_be_told_as_it_was() {
    right(&[op(1, 2, writes(7)), op(3, 4, reads(7)), op(5, 6, deletes(true)), op(7, 8, reads(0))]);
    right(&[op(1, 2, compares(0, 7, true)), op(3, 4, compares(0, 8, false))]);
    wrong(&[op(1, 2, writes(7)), op(3, 4, reads(8))], 1);
    wrong(&[op(1, 2, writes(7)), op(3, 4, reads(TORN))], 1);
    wrong(&[op(1, 2, writes(7)), op(3, 4, deletes(false))], 1);
    wrong(&[op(1, 2, writes(7)), op(3, 4, compares(7, 8, false))], 1);
}

#[test]
fn a_value_may_be_read_while_it_is_written_and_not_before() {
    right(&[op(1, 5, writes(7)), op(2, 4, reads(7))]);
    right(&[op(1, 5, writes(7)), op(2, 4, reads(0))]);
    // They only touch, and the clock does not tell what was first.
    right(&[op(1, 2, reads(7)), op(2, 4, writes(7))]);
    wrong(&[op(1, 2, reads(7)), op(3, 4, writes(7))], 0);
}

#[test]
fn a_read_is_not_stale() {
    let ops = [op(1, 2, writes(7)), op(3, 4, writes(8)), op(5, 6, reads(7))];
    wrong(&ops, 2);
    right(&[op(1, 2, writes(7)), op(3, 6, writes(8)), op(4, 5, reads(7))]);
}

#[test]
fn reads_do_not_go_back_in_time() {
    let write = [op(1, 2, writes(7)), op(3, 20, writes(8))];
    right(&[write[0], write[1], op(4, 5, reads(7)), op(6, 7, reads(8))]);
    wrong(&[write[0], write[1], op(4, 5, reads(8)), op(6, 7, reads(7))], 3);
    right(&[write[0], write[1], op(4, 8, reads(8)), op(6, 7, reads(7))]);
}

#[test]
fn no_update_is_lost() {
    wrong(&[op(1, 2, writes(1)), op(3, 6, swaps(1, 2)), op(4, 7, swaps(1, 3))], 2);
    right(&[op(1, 2, writes(1)), op(3, 6, swaps(1, 2)), op(4, 7, swaps(2, 3))]);
    let both =
        [op(1, 2, writes(1)), op(3, 6, compares(1, 2, true)), op(4, 7, compares(1, 3, true))];
    wrong(&both, 2);
    wrong(&[op(1, 4, compares(0, 2, true)), op(2, 5, compares(0, 3, true))], 1);
}

#[test]
fn a_write_that_may_have_changed_nothing_may_have_changed_something() {
    let delete = Call { kind: Kind::Write, ..deletes(true) };
    right(&[op(1, 9, delete), op(2, 3, swaps(0, 7)), op(10, 11, compares(0, 8, true))]);
}

#[test]
fn both_keys_of_a_transaction_change_at_once() {
    right(&[op(1, 6, writes_both([1, 2])), op(2, 3, reads_both([0, 0]))]);
    right(&[op(1, 6, writes_both([1, 2])), op(2, 3, reads_both([1, 2]))]);
    wrong(&[op(1, 6, writes_both([1, 2])), op(2, 3, reads_both([1, 0]))], 1);
}

#[test]
fn what_a_transaction_has_read_holds_when_it_writes() {
    // Each reads the key that the other one writes.
    let one = guarded(1, [0, 0], [KEEP, 5], true);
    let other = guarded(2, [0, 0], [6, KEEP], true);
    wrong(&[op(1, 5, one), op(2, 6, other)], 1);
    let refused = Call { wrote: Some(false), ..other };
    right(&[op(1, 5, one), op(2, 6, refused)]);
    // What it has read before it was refused was so, in its time.
    wrong(&[op(1, 2, one), op(3, 6, refused)], 1);
}

#[test]
fn what_never_returned_has_happened_later_or_never() {
    let begin = [op(1, 2, writes(7)), lost(3, swaps(0, 8))];
    right(&[begin[0], begin[1], op(4, 5, reads(7))]);
    right(&[begin[0], begin[1], op(4, 5, reads(7)), op(6, 7, reads(8))]);
    wrong(&[begin[0], begin[1], op(4, 5, reads(8)), op(6, 7, reads(7))], 3);
    wrong(&[op(1, 2, reads(8)), lost(3, writes(8))], 0);
    // A comparison that would have failed has no effect.
    wrong(&[op(1, 2, writes(7)), lost(3, compares(6, 8, true)), op(4, 5, reads(8))], 2);
}

#[test]
fn many_calls_that_never_returned_are_no_trouble() {
    let mut ops: Vec<Op> = (0..24).map(|i| lost(1, writes(100 + i))).collect();
    ops.extend((0..200).flat_map(|i| {
        let at = 10 + 20 * i;
        [op(at, at + 9, writes(1000 + i)), op(at + 10, at + 11, reads(1000 + i))]
    }));
    right(&ops);
    ops.push(op(5000, 5001, reads(123)));
    right(&ops);
    ops.push(op(5002, 5003, reads(1000)));
    wrong(&ops, ops.len() - 1);
}

/// Tries all orders: the next call is any that was invoked before all that are left returned.
fn any_order(state: State, left: &[Op]) -> bool {
    let must = left.iter().filter_map(|op| op.returned).min();
    let Some(until) = must else { return true };
    left.iter().enumerate().filter(|(_, op)| op.invoked <= until).any(|(i, op)| {
        let rest = [&left[..i], &left[i + 1..]].concat();
        op.call.step(state).is_some_and(|state| any_order(state, &rest))
    })
}

/// Calls with few values, at random, whose outcomes may or may not be possible.
fn some_history(random: &mut Rng) -> Vec<Op> {
    let mut clock = 0;
    let mut ops = Vec::new();
    for _ in 0..random.usize(2..8) {
        clock += random.u64(0..3);
        let mut pick = |keep: bool| if keep && random.bool() { KEEP } else { random.u64(0..3) };
        let (seen, new) = ([pick(false), pick(false)], [pick(true), pick(true)]);
        let kind = Kind::ALL[random.usize(0..6)];
        let wrote = match kind {
            Kind::Read => false,
            Kind::Write | Kind::Swap => true,
            _ => random.bool(),
        };
        let mask = random.u8(1..4);
        let call = match kind {
            Kind::Delete => call(kind, 1, seen, [0, KEEP], Some(wrote)),
            Kind::Read => call(kind, mask, seen, [KEEP; 2], Some(wrote)),
            _ => call(kind, mask, seen, new, Some(wrote)),
        };
        let end = clock + random.u64(1..8);
        ops.push(if random.u8(0..5) == 0 { lost(clock, call) } else { op(clock, end, call) });
    }
    ops
}

#[test]
fn it_agrees_with_one_that_tries_all_orders() {
    let mut random = Rng::with_seed(1);
    let (mut right, mut wrong) = (0, 0);
    while right < 3000 || wrong < 3000 {
        let ops = some_history(&mut random);
        let expected = any_order([0; 2], &ops);
        match check(&ops) {
            Ok(_) => right += 1,
            Err(ref stuck) => {
                wrong += 1;
                assert!(witness(&ops, stuck).contains("nothing explains"));
            }
        }
        assert_eq!(check(&ops).is_ok(), expected, "{ops:#?}");
    }
}
