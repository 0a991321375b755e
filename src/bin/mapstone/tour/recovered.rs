//! After the kill: the store must hold exactly the first n commits, and every one that was acknowledged.

use super::{
    corpus::Corpus,
    figures::Load,
    files::{Checker, Tally},
    marks::{self, Mark},
};
use anyhow::{Context, Result, ensure};
use mapstone::Store;

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Recovered {
    /// Whether one commit more than the acknowledged ones had happened.
    pub(crate) one_more: bool,
    pub(crate) tally: Tally,
}

pub(crate) fn check(store: &Store, corpus: &Corpus, load: &Load) -> Result<Recovered> {
    let marks = store.table(marks::TABLE)?;
    let newest = marks.get(marks::NEWEST)?.context("mismatch: the newest mark is lost")?;
    let newest = Mark::decode(&newest)?;
    let acknowledged = load.acknowledged.mark;
    // The writer acknowledges each commit before it begins the next.
    ensure!(
        newest == acknowledged || newest == acknowledged.next(corpus),
        "mismatch: {acknowledged:?} was acknowledged, and the recovered store ends with {newest:?}"
    );
    let position = store.position().as_u64();
    ensure!(
        position >= load.acknowledged.position,
        "mismatch: position {} was acknowledged, and the recovered store ends at {position}",
        load.acknowledged.position
    );
    let mut checker = Checker::new(corpus);
    for batch in 0..corpus.batches.len() as u64 {
        let found = marks.get(marks::key(batch))?.map(|mark| Mark::decode(&mark)).transpose()?;
        let expected = expected(newest, batch);
        ensure!(
            found == expected,
            "mismatch: the mark of batch {batch} is {found:?} instead of {expected:?}"
        );
        self::batch(store, corpus, batch, found.is_some(), &mut checker)?;
    }
    Ok(Recovered { one_more: newest != acknowledged, tally: checker.tally })
}

/// The mark that the commits up to `newest`, and no others, leave for a batch.
fn expected(newest: Mark, batch: u64) -> Option<Mark> {
    let pass = if batch <= newest.batch { newest.pass } else { newest.pass.checked_sub(1)? };
    Some(Mark { pass, batch })
}

fn batch(
    store: &Store,
    corpus: &Corpus,
    batch: u64,
    committed: bool,
    checker: &mut Checker<'_>,
) -> Result<()> {
    for index in corpus.batches[usize::try_from(batch)?].clone() {
        let found = store.get(&corpus.files[index].key)?;
        if committed {
            checker.compare(index, found.as_deref())?;
        } else {
            ensure!(found.is_none(), "mismatch: batch {batch} is half there after the recovery");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Mark, expected};

    #[test]
    fn a_prefix_of_the_commits_leaves_these_marks() {
        let newest = Mark { pass: 0, batch: 1 };
        assert_eq!(expected(newest, 1), Some(newest));
        assert_eq!(expected(newest, 2), None);
        let later = Mark { pass: 4, batch: 1 };
        assert_eq!(expected(later, 0), Some(Mark { pass: 4, batch: 0 }));
        assert_eq!(expected(later, 2), Some(Mark { pass: 3, batch: 2 }));
    }
}
