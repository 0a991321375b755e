//! What happens at crash points: each counts as a step on the disk of the moment, some are the end of it, and at some
//! others come in between: commits of another thread, or a look at what is there.

use std::cell::RefCell;

use mapstone::sim::{Point, SimDisk, at_points};

/// The n-th time that a point is reached.
pub(crate) type At = (Point, u16);

#[derive(Default)]
struct Watch {
    disk: Option<SimDisk>,
    crash: Option<At>,
    act: Option<(At, Box<dyn FnOnce()>)>,
    reached: Vec<u64>,
    /// The space that a batch needs can be told beforehand.
    foreseeable: bool,
    /// A batch has begun to be written.
    writing: bool,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::default();
}

/// Counts points as steps on `disk` from now on, and forgets what was to happen at one. Unless hashes are rigged, an index that
/// grows in the middle of a batch breaks invariant I1.
pub(crate) fn watch(disk: &SimDisk, rigged: bool) {
    WATCH.with_borrow_mut(|watch| {
        watch.disk = Some(disk.clone());
        (watch.foreseeable, watch.writing) = (!rigged, false);
        watch.reached.resize(Point::ALL.len(), 0);
    });
    forget();
    at_points(Some(Box::new(reached)));
}

/// Nothing is to happen at any point any more.
pub(crate) fn forget() {
    WATCH.with_borrow_mut(|watch| {
        watch.crash = None;
        watch.writing = false;
    });
    forget_act();
}

/// Nothing comes in between any more.
pub(crate) fn forget_act() {
    // Dropping it may close a store, which comes to crash points itself.
    drop(WATCH.with_borrow_mut(|watch| watch.act.take()));
}

/// Something is still to come in between.
pub(crate) fn has_act() -> bool {
    WATCH.with_borrow(|watch| watch.act.is_some())
}

/// The disk is cut at a point.
pub(crate) fn cut_at(at: At) {
    WATCH.with_borrow_mut(|watch| watch.crash = Some(at));
}

/// Does something that comes to no crash.
pub(crate) fn aside<T>(look: impl FnOnce() -> T) -> T {
    let crash = WATCH.with_borrow_mut(|watch| watch.crash.take());
    let result = look();
    WATCH.with_borrow_mut(|watch| watch.crash = crash);
    result
}

/// Something comes in between at a point.
pub(crate) fn act_at(at: At, act: impl FnOnce() + 'static) {
    WATCH.with_borrow_mut(|watch| watch.act = Some((at, Box::new(act))));
}

/// How often this thread has reached a point since it last asked for all of them.
pub(crate) fn take_reached() -> Vec<u64> {
    WATCH.with_borrow_mut(|watch| {
        let none = vec![0; Point::ALL.len()];
        std::mem::replace(&mut watch.reached, none)
    })
}

fn reached(point: Point) {
    let act = WATCH.with_borrow_mut(|watch| {
        watch.reached[point as usize] += 1;
        match point {
            Point::SpaceReserved | Point::AppendLent => watch.writing = true,
            Point::AppendPlanned | Point::AppendWiped | Point::PublishDone => watch.writing = false,
            _ => {}
        }
        let late = point == Point::GrowReserved && watch.writing && watch.foreseeable;
        assert!(!late, "space was not reserved before the batch was written");
        let disk = watch.disk.as_ref()?;
        disk.step();
        if is_now(&mut watch.crash, point) {
            disk.cut();
        }
        let mut at = watch.act.as_ref().map(|(at, _)| *at);
        let now = is_now(&mut at, point);
        if let (Some(left), Some((at, _))) = (at, &mut watch.act) {
            *at = left;
        }
        watch.act.take_if(|_| now)
    });
    if let Some((_, act)) = act {
        act();
    }
}

/// Counts down; true, and over, at the last.
fn is_now(at: &mut Option<At>, point: Point) -> bool {
    let Some((_, left)) = at.as_mut().filter(|(of, _)| *of == point) else { return false };
    *left = left.saturating_sub(1);
    let now = *left == 0;
    if now {
        *at = None;
    }
    now
}
