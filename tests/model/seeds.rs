//! From a seed to a story, the same in every run.

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::themes::Story;

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
