//! What only tests can switch on: crash points, where a process dies or the simulated power goes, and planted bugs, which break
//! one rule each so that the tests can prove that they would notice.
//!
//! Without the feature `sim` both are nothing: [`reach`] is empty and [`planted`] is false, and the compiler drops them.

#![cfg_attr(
    not(any(test, feature = "sim")),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "names of what cannot be switched on"
    )
)]

mod bug;
mod point;
#[cfg(any(test, feature = "sim"))]
mod switch;

pub use bug::Bug;
pub use point::Point;
#[cfg(any(test, feature = "sim"))]
pub use switch::{CRASH_AT, PLANT, at_points, plant};

/// Says that execution has come to a place at which a crash is worth trying.
#[inline]
pub(crate) fn reach(point: Point) {
    #[cfg(any(test, feature = "sim"))]
    switch::reach(point);
    #[cfg(not(any(test, feature = "sim")))]
    let _ = point;
}

/// Whether this rule is to be broken. True in tests only.
#[inline]
pub(crate) fn planted(bug: Bug) -> bool {
    #[cfg(any(test, feature = "sim"))]
    return switch::planted(bug);
    #[cfg(not(any(test, feature = "sim")))]
    {
        let _ = bug;
        false
    }
}

/// An enum whose variants have names that can be listed, printed and given in the environment.
macro_rules! named {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$doc])* $variant,)*
        }

        impl $type {
            /// All of them.
            pub const ALL: &[$type] = &[$($type::$variant,)*];

            /// The name by which it is asked for.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }
        }
    };
}
use named;
