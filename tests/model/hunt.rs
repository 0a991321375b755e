//! Stories in a row, told until one ends badly.

use super::ops::{Op, Shape};
use super::world::World;
use super::{quiet, seeds, tally, themes};

/// The themes in the order of [`themes::stories`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Everything,
    Growth,
    Lookups,
    TornCheckpoints,
    FullDisk,
    TornPages,
    FailedSyncs,
    Kills,
    Recoveries,
    Tables,
    Space,
    Graves,
    Cursors,
    Turns,
}

impl Theme {
    pub(crate) const ALL: [Theme; 14] = {
        use Theme::*;
        [
            Everything,
            Growth,
            Lookups,
            TornCheckpoints,
            FullDisk,
            TornPages,
            FailedSyncs,
            Kills,
            Recoveries,
            Tables,
            Space,
            Graves,
            Cursors,
            Turns,
        ]
    };
}

/// How a hunt for a bug ended.
pub(crate) struct Caught {
    pub(crate) stories: u64,
    pub(crate) cuts: u64,
    /// What the story said that ended badly.
    pub(crate) how: String,
    pub(crate) shape: Shape,
    pub(crate) ops: Vec<Op>,
}

/// Tells so many stories of some themes in turn, unless one ends badly.
pub(crate) fn hunt(themes: &[Theme], stories: u64, longest: usize) -> Option<Caught> {
    let (before, all) = (tally::now(), themes::stories(longest));
    let themes: Vec<_> = themes.iter().map(|theme| all[*theme as usize].clone()).collect();
    (0..stories).find_map(|seed| {
        let (shape, ops) = seeds::story(seed, &themes);
        let how = quiet::run(|| World::new(shape).live(&ops)).err()?;
        let now = tally::now();
        let (stories, cuts) = (now.stories - before.stories, now.cuts - before.cuts);
        Some(Caught { stories, cuts, how, shape, ops })
    })
}

/// The same story without the operations that it does not need to end badly.
pub(crate) fn shorten(shape: Shape, mut ops: Vec<Op>) -> Vec<Op> {
    let fails = |ops: &[Op]| quiet::run(|| World::new(shape).live(ops)).is_err();
    let mut chunk = ops.len();
    while chunk > 0 {
        let mut at = 0;
        while at < ops.len() {
            let mut less = ops.clone();
            less.drain(at..less.len().min(at + chunk));
            if fails(&less) {
                ops = less;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    ops
}
