//! Many outcomes of one moment: a short story ends with a power cut, and a number of disks that the cut may have left are
//! opened, recovered and compared.

use super::ops::{Recovery, Shape};
use super::tally::Watch;
use super::world::World;
use super::{seeds, themes};

/// Outcomes of each moment that are looked at.
const OUTCOMES: u8 = 40;

/// Ends stories by power cuts until `seconds` have passed, and says how many cuts there were.
pub(crate) fn cut_for(seconds: f64) {
    let watch = Watch::start();
    let themes = themes::stories(12);
    for seed in 0.. {
        if watch.seconds() >= seconds {
            break;
        }
        let (shape, ops) = seeds::story(seed, &themes);
        let mut world = World::new(Shape { seed, ..shape });
        world.live(&ops);
        world.outcomes(OUTCOMES, &Recovery::default());
    }
    watch.report("cuts");
}
