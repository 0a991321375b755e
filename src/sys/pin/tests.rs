//! What is pinned stays, and what is not goes.

use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The epoch is the whole process's, so one test's pins would hold up another's frees.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Counts how many of its kind have been freed, and spoils its content then.
struct Witness(u64, Arc<AtomicUsize>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0 = u64::MAX;
        self.1.fetch_add(1, Relaxed);
    }
}

struct Scene {
    shelf: Shelf<Witness>,
    limbo: Limbo<Witness>,
    freed: Arc<AtomicUsize>,
    _one: MutexGuard<'static, ()>,
}

impl Scene {
    fn new() -> Scene {
        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let scene =
            Scene { shelf: Shelf::new(), limbo: Limbo::new(), freed: Arc::default(), _one: one };
        scene.fill(7);
        scene
    }

    fn fill(&self, number: u64) {
        let new = Box::new(Witness(number, Arc::clone(&self.freed)));
        self.shelf.fill(new, &Pin::new());
    }

    /// Empties the shelf and tries hard to free; how many have been freed by then.
    fn reclaim(&self) -> usize {
        self.shelf.empty(&self.limbo);
        for _ in 0..5 {
            self.limbo.collect();
        }
        self.freed.load(Relaxed)
    }
}

#[test]
fn what_nobody_looks_at_is_freed_at_once() {
    let scene = Scene::new();
    assert_eq!(scene.reclaim(), 1);
    assert!(scene.shelf.get(&Pin::new()).is_none());
    assert!(!scene.shelf.empty(&scene.limbo));
}

#[test]
fn a_pin_its_clone_and_one_dropped_elsewhere_keep_what_they_saw() {
    let scene = Scene::new();
    let pin = Pin::new();
    let seen = scene.shelf.get(&pin).expect("filled");
    assert_eq!(scene.reclaim(), 0);
    let clone = pin.clone();
    assert_eq!((seen.0, scene.reclaim()), (7, 0));
    drop(pin);
    assert_eq!(scene.reclaim(), 0, "the clone protects what the pin did");
    let elsewhere = std::thread::spawn(move || {
        let again = clone.clone();
        drop(clone);
        again
    });
    let pin = elsewhere.join().expect("no panic");
    assert_eq!(scene.reclaim(), 0);
    drop(pin);
    assert_eq!(scene.reclaim(), 1);
}

#[test]
fn a_later_pin_does_not_hold_up_what_went_before_it() {
    let scene = Scene::new();
    scene.shelf.empty(&scene.limbo);
    scene.limbo.collect();
    // Pins that overlap without end: there is always one.
    let mut pins = vec![Pin::new()];
    for _ in 0..4 {
        pins.push(Pin::new());
        scene.limbo.collect();
        pins.remove(0);
    }
    assert_eq!(scene.freed.load(Relaxed), 1);
}

#[test]
fn a_filled_shelf_keeps_the_first_and_frees_it_when_dropped() {
    let scene = Scene::new();
    scene.fill(8);
    assert_eq!(scene.freed.load(Relaxed), 1, "the second was not needed");
    assert_eq!(scene.shelf.get(&Pin::new()).map(|witness| witness.0), Some(7));
    let Scene { shelf, freed, .. } = scene;
    drop(shelf);
    assert_eq!(freed.load(Relaxed), 2);
}

#[test]
fn readers_never_see_what_was_freed() {
    let scene = Scene::new();
    let rounds = if cfg!(miri) { 30 } else { 3_000 };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut kept = None;
                while !done.load(Relaxed) {
                    let pin = Pin::new();
                    if let Some(seen) = scene.shelf.get(&pin) {
                        assert!(seen.0 < u64::MAX);
                        std::thread::yield_now();
                        assert!(seen.0 < u64::MAX, "freed under a reader");
                        kept = Some(pin.clone());
                    }
                }
                drop(kept);
            });
        }
        for round in 0..rounds {
            scene.shelf.empty(&scene.limbo);
            scene.limbo.collect();
            scene.fill(round);
        }
        done.store(true, Relaxed);
    });
    assert_eq!(scene.reclaim() as u64, rounds + 1);
}
