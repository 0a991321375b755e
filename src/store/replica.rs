//! What a store that follows another one says of that: in its catalogue, so that it changes in one commit with what was followed.

use crate::error::Result;
use crate::format::StoreId;
use crate::format::position::{Bookmark, Era, Position};
use crate::sys::Pin;

use super::Engine;
use super::tables::CATALOGUE;

/// Catalogue key of the commit that this store has come to.
pub(crate) const FOLLOWED: &[u8] = b"f";
/// Bytes of its value: the id of the store that is followed, the position and the era.
pub(super) const FOLLOWED_LEN: usize = 32;

/// Whom a store follows, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Followed {
    pub(crate) id: StoreId,
    /// None while it is being made what the other one is.
    pub(crate) at: Option<Bookmark>,
}

impl Followed {
    pub(crate) fn encode(&self) -> [u8; FOLLOWED_LEN] {
        let at = self.at.unwrap_or(Position(u64::MAX).into());
        let mut out = [0; FOLLOWED_LEN];
        crate::format::set(&mut out, 0, &self.id);
        crate::format::set(&mut out, 16, &at.position.0.to_le_bytes());
        crate::format::set(&mut out, 24, &at.era.0.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; FOLLOWED_LEN]) -> Followed {
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[..16]);
        let (position, era) =
            (crate::format::u64_at(bytes, 16), Era(crate::format::u64_at(bytes, 24)));
        let at = Bookmark { position: Position(position), era };
        Followed { id, at: (position != u64::MAX).then_some(at) }
    }
}

impl Engine {
    pub(crate) fn id(&self) -> StoreId {
        self.superblock.id
    }

    /// Whom this store follows; None if nobody.
    pub(crate) fn followed(&self) -> Result<Option<Followed>> {
        self.fresh(|at| {
            let pin = Pin::new();
            let found = self.reader(&pin).get(CATALOGUE, FOLLOWED, at)?;
            let Some(record) = found else { return Ok(None) };
            match record.value().try_into() {
                Ok(bytes) => Ok(Some(Followed::decode(bytes))),
                Err(_) => Err(self.damaged(&record, "the 32 bytes of one that follows")),
            }
        })
    }
}
