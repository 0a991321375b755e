//! Threads of one store, and a reader with mappings of its own, under the model checker loom: every order of their steps within a
//! bound, and every value that a load may give. `RUSTFLAGS="--cfg loom" cargo test --release --lib loom` runs this file.

mod loom;
mod weak;
