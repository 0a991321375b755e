//! What the store must hold after each step, and what it does hold.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, bail, ensure};
use mapstone::{Snapshot, Store};
use xxhash_rust::xxh3::xxh3_64;

use crate::script::{Action, Content, Op, Script, Step, key};

type Table = HashMap<Vec<u8>, Content>;

/// All tables after a step, the one without a name under `""`.
#[derive(Clone, Debug)]
pub struct Model {
    tables: BTreeMap<&'static str, Table>,
}

impl Model {
    pub fn new() -> Model {
        Model { tables: BTreeMap::from([("", Table::new())]) }
    }

    pub fn apply(&mut self, step: &Step) {
        match &step.action {
            Action::Put(op) | Action::PutWith(op) | Action::Delete(op) => self.apply_op(op),
            Action::Batch(ops) => ops.iter().for_each(|op| self.apply_op(op)),
            Action::Create(table) => {
                self.tables.entry(table).or_default();
            }
            Action::Drop(table) => {
                self.tables.remove(table);
            }
            Action::Checkpoint | Action::Sync | Action::Reopen => {}
        }
    }

    fn apply_op(&mut self, op: &Op) {
        let table =
            self.tables.get_mut(op.table).expect("the script writes to tables that are there");
        match op.put {
            Some(content) => table.insert(op.key.clone(), content),
            None => table.remove(&op.key),
        };
    }

    fn entries(&self) -> u64 {
        self.tables.values().map(|table| table.len() as u64).sum()
    }

    /// Whether the store holds this and nothing else.
    fn is(&self, held: &Held) -> bool {
        self.tables.len() == held.tables.len()
            && self.tables.iter().zip(&held.tables).all(|((name, table), (held_name, held))| {
                name == held_name
                    && table.len() == held.len()
                    && table.iter().all(|(key, content)| {
                        held.get(key).is_some_and(|value| value.len == content.len)
                    })
            })
            && self.tables.iter().all(|(name, table)| {
                table.iter().all(|(key, content)| {
                    held.tables[*name][key].hash == xxh3_64(&content.bytes(key))
                })
            })
    }

    /// How this differs from what the store holds, in a line.
    fn difference(&self, held: &Held) -> String {
        let names: Vec<_> = self.tables.keys().collect();
        let held_names: Vec<_> = held.tables.keys().collect();
        if names.iter().map(|name| **name).ne(held_names.iter().map(|name| name.as_str())) {
            return format!("tables {held_names:?} and not {names:?}");
        }
        for (name, table) in &self.tables {
            let held = &held.tables[*name];
            for (key, content) in table {
                let text = String::from_utf8_lossy(key);
                match held.get(key) {
                    None => {
                        return format!("{name}/{text:?} of step {} is not there", content.step);
                    }
                    Some(value) if value.hash != xxh3_64(&content.bytes(key)) => {
                        return format!(
                            "{name}/{text:?} of step {}, {} bytes, is of step {:?}, {} bytes",
                            content.step, content.len, value.step, value.len
                        );
                    }
                    Some(_) => {}
                }
            }
            if let Some(key) = held.keys().find(|key| !table.contains_key(*key)) {
                return format!("{name}/{:?} is there", String::from_utf8_lossy(key));
            }
        }
        "nothing".into()
    }
}

/// What an iteration through the store has met.
struct Held {
    tables: BTreeMap<String, HashMap<Vec<u8>, Value>>,
}

struct Value {
    step: Option<u64>,
    len: u32,
    hash: u64,
}

impl Held {
    fn by(store: &Store) -> Result<Held> {
        let snapshot = store.snapshot()?;
        let mut tables = BTreeMap::from([(String::new(), table(&snapshot)?)]);
        for name in snapshot.tables()? {
            let Some(named) = snapshot.table(&name)? else {
                bail!("{name} is listed and not there")
            };
            tables.insert(name, table(&named)?);
        }
        Ok(Held { tables })
    }
}

fn table(snapshot: &Snapshot) -> Result<HashMap<Vec<u8>, Value>> {
    let mut met = HashMap::new();
    for item in snapshot {
        let (key, value) = item?;
        let claimed = Content::claimed(&value).map(|content| content.step);
        let held = Value { step: claimed, len: value.len() as u32, hash: xxh3_64(&value) };
        ensure!(met.insert(key.to_vec(), held).is_none(), "an iteration met a key twice");
    }
    Ok(met)
}

/// Finds the step between `low` and `high` after which the model is what the store holds, and checks that `get`, `get_many`, `stats` and
/// `verify` say the same. Returns the script and the model as of that step.
pub fn check(store: &Store, seed: u64, low: u64, high: u64) -> Result<(Script, Model)> {
    let held = Held::by(store)?;
    let (mut script, mut model) = (Script::new(seed), Model::new());
    let mut nearest = None;
    loop {
        if script.number() >= low {
            if model.is(&held) {
                break;
            }
            nearest.get_or_insert_with(|| model.difference(&held));
        }
        if script.number() >= high {
            let nearest = nearest.unwrap_or_else(|| "nothing to compare".into());
            bail!("LOST: the store is at no step from {low} to {high}; against {low}: {nearest}");
        }
        let step = script.next().expect("endless");
        model.apply(&step);
    }
    check_reads(store, &model)?;
    let verification = store.verify()?;
    ensure!(verification.is_ok(), "DAMAGED: {:?}", verification.damage);
    ensure!(verification.entries == model.entries(), "verify counts {}", verification.entries);
    ensure!(store.stats()?.entries == model.entries(), "stats count {}", store.stats()?.entries);
    Ok((script, model))
}

fn check_reads(store: &Store, model: &Model) -> Result<()> {
    let snapshot = store.snapshot()?;
    for (name, table) in &model.tables {
        let snapshot =
            if name.is_empty() { Some(snapshot.clone()) } else { snapshot.table(name)? };
        let Some(snapshot) = snapshot else { bail!("LOST: table {name}") };
        let keys: Vec<&Vec<u8>> = table.keys().collect();
        for (key, value) in keys.iter().zip(snapshot.get_many(&keys)?) {
            let wanted = table[*key].bytes(key);
            ensure!(value.as_deref() == Some(&wanted[..]), "LOST: get_many of {name}/{key:?}");
            ensure!(
                snapshot.get(key)?.as_deref() == Some(&wanted[..]),
                "LOST: get of {name}/{key:?}"
            );
        }
        for key in (0..100).map(key).filter(|key| !table.contains_key(key)) {
            ensure!(snapshot.get(&key)?.is_none(), "LOST: {name}/{key:?} was deleted");
        }
    }
    Ok(())
}
