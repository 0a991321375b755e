//! Stories in a row that seeds decide, told until one ends badly.

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::ops::{Op, Shape};
use super::themes::{Story, Theme};
use super::world::World;
use super::{quiet, tally, themes};

/// How a hunt for a bug ended.
pub(crate) struct Caught {
    pub(crate) stories: u64,
    pub(crate) cuts: u64,
    /// What the story said that ended badly.
    pub(crate) how: String,
    pub(crate) shape: Shape,
    pub(crate) ops: Vec<Op>,
}

/// The source of chance that a seed stands for.
pub(crate) fn random(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// The story that a seed stands for. Seeds take turns with the themes.
pub(crate) fn story(seed: u64, themes: &[BoxedStrategy<Story>]) -> Story {
    let mut runner = TestRunner::new_with_rng(Config::default(), random(seed));
    let theme = usize::try_from(seed).expect("a small number") % themes.len();
    let tree = themes[theme].new_tree(&mut runner).expect("a story for every seed");
    tree.current()
}

/// Tells so many stories of some themes in turn, unless one ends badly.
pub(crate) fn hunt(themes: &[Theme], stories: u64, longest: usize) -> Option<Caught> {
    let (before, all) = (tally::now(), themes::stories(longest));
    let themes: Vec<_> = themes.iter().map(|theme| all[*theme as usize].clone()).collect();
    (0..stories).find_map(|seed| {
        let (shape, ops) = story(seed, &themes);
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
