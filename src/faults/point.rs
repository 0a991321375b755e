//! The places at which a crash is worth trying.

super::named! {
    /// A crash point.
    Point {
        /// Space for a batch is reserved, and nothing of it is written.
        SpaceReserved = "append.reserved",
    }
}
