//! One file for each work set.

use anyhow::Result;

use crate::bench::Bench;

pub mod delete;
pub mod durable;
pub mod get;
pub mod iterate;
pub mod load;
pub mod memory;
pub mod open;
pub mod overwrite;
pub mod processes;
pub mod put;
pub mod threads;
pub mod values;
pub mod ycsb;

pub struct Work {
    pub name: &'static str,
    /// Needs a store and a process of its own; the others go on with the store of the load, in this order.
    pub apart: bool,
    pub run: fn(&mut Bench) -> Result<()>,
}

pub const WORKS: &[Work] = &[
    Work { name: "load", apart: false, run: load::run },
    Work { name: "get", apart: false, run: get::run },
    Work { name: "threads", apart: false, run: threads::run },
    Work { name: "processes", apart: false, run: processes::run },
    Work { name: "iterate", apart: false, run: iterate::run },
    Work { name: "overwrite", apart: false, run: overwrite::run },
    Work { name: "put", apart: false, run: put::run },
    Work { name: "delete", apart: false, run: delete::run },
    Work { name: "durable", apart: false, run: durable::run },
    Work { name: "open", apart: false, run: open::run },
    Work { name: "values", apart: true, run: values::run },
    Work { name: "ycsb", apart: true, run: ycsb::run },
    Work { name: "memory", apart: true, run: memory::run },
];
