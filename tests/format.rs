//! docs/format.md describes the files: a reader written from it alone, with every offset taken from its tables, finds in the
//! files of a store what the library finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mapstone::{Durability, Options, Snapshot, Store};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const PAGE: usize = 4096;
const TEXT: &str = include_str!("../docs/format.md");

/// The tables of the document that have offsets or bits, by heading and field.
struct Document {
    /// First byte and size, or first and last bit.
    fields: BTreeMap<(String, String), (usize, usize)>,
}

impl Document {
    fn parse() -> Document {
        let mut fields = BTreeMap::new();
        let (mut heading, mut kind) = ("", None);
        for line in TEXT.lines() {
            if let Some(title) = line.trim_start_matches('#').strip_prefix(' ')
                && line.starts_with('#')
            {
                (heading, kind) = (title, None);
            }
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            match (kind, &cells[..]) {
                (_, ["offset", "size", "field", "meaning"]) => kind = Some("bytes"),
                (_, ["bits", "field", "meaning"]) => kind = Some("bits"),
                (_, [dashes, ..]) if dashes.starts_with("---") => {}
                (Some("bytes"), [offset, size, field, _]) => {
                    let at = (offset.parse().expect("an offset"), size.parse().expect("a size"));
                    fields.insert((heading.to_owned(), (*field).to_owned()), at);
                }
                (Some("bits"), [bits, field, _]) => {
                    let (first, last) = bits.split_once("..").expect("a range of bits");
                    let at = (first.parse().expect("a bit"), last.parse().expect("a bit"));
                    fields.insert((heading.to_owned(), (*field).to_owned()), at);
                }
                _ => kind = None,
            }
        }
        Document { fields }
    }

    fn at(&self, heading: &str, field: &str) -> (usize, usize) {
        let key = (heading.to_owned(), field.to_owned());
        *self.fields.get(&key).unwrap_or_else(|| panic!("{heading} has a row {field}"))
    }

    /// Bytes of a field.
    fn bytes<'a>(&self, memory: &'a [u8], heading: &str, field: &str) -> &'a [u8] {
        let (offset, size) = self.at(heading, field);
        &memory[offset..offset + size]
    }

    /// A number of up to eight bytes.
    fn number(&self, memory: &[u8], heading: &str, field: &str) -> u64 {
        let bytes = self.bytes(memory, heading, field);
        bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte))
    }

    /// A number within a word.
    fn bits(&self, word: u64, heading: &str, field: &str) -> u64 {
        let (first, last) = self.at(heading, field);
        word << (63 - last) >> (63 - last + first)
    }
}

/// A word at a byte offset.
fn word(memory: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(memory[offset..offset + 8].try_into().expect("eight bytes"))
}

/// A 64-bit number that counts something in memory.
fn size(number: u64) -> usize {
    usize::try_from(number).expect("a 64-bit target")
}

/// What eight steps of the shift register make of each byte.
const CRC_STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let (mut byte, mut index) = (0, 0u32);
    while byte < 256 {
        let mut register = index;
        let mut bit = 0;
        while bit < 8 {
            register = (register >> 1) ^ ((register & 1) * 0xEDB8_8320); // the polynomial, reflected
            bit += 1;
        }
        steps[byte] = register;
        (byte, index) = (byte + 1, index + 1);
    }
    steps
};

/// The register of a CRC-32 after more bytes.
fn crc_register(register: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(register, |register, byte| {
        (register >> 8) ^ CRC_STEPS[usize::from(register.to_le_bytes()[0] ^ byte)]
    })
}

fn crc32(bytes: &[u8]) -> u32 {
    !crc_register(!0, bytes)
}

#[derive(Clone, Debug)]
struct Record {
    position: u64,
    table: u32,
    key: Vec<u8>,
    /// None for a tombstone.
    value: Option<Vec<u8>>,
    commit: bool,
    live_before: bool,
    prev: u64,
    /// Bytes until the next record.
    size: u64,
}

type State = BTreeMap<(u32, Vec<u8>), Record>;

/// What the document says, as a program.
struct Reader {
    doc: Document,
    meta: Vec<u8>,
    index: Vec<u8>,
    checkpoints: Vec<Vec<u8>>,
    /// Files of the log by number, each cut to its `bytes`.
    segments: BTreeMap<u64, Vec<u8>>,
    segment_size: u64,
    /// All ones, but for stores with a rigged hash.
    mask: u64,
}

impl Reader {
    fn open(path: &Path, mask: u64) -> Reader {
        let doc = Document::parse();
        let read = |name: &str| fs::read(path.join(name)).expect("a file of the store");
        let meta = read("meta");
        let s = "Superblock";
        assert_eq!(doc.bytes(&meta, s, "magic"), b"mapstone");
        assert_eq!(doc.number(&meta, s, "version"), 1);
        assert_eq!(doc.number(&meta, s, "crc"), u64::from(crc32(&meta[..doc.at(s, "crc").0])));
        assert_eq!(doc.number(&meta, s, "features"), 0);
        assert_eq!(doc.number(&meta, s, "endian"), 0x0102_0304_0506_0708);
        let segment_size = doc.number(&meta, s, "segment_size");
        let id = doc.bytes(&meta, s, "id").to_vec();

        let index = read("index");
        let checked = |memory: &[u8], heading: &str, magic: &[u8]| {
            assert_eq!(doc.bytes(memory, heading, "magic"), magic);
            assert_eq!(doc.number(memory, heading, "version"), 1);
            assert_eq!(doc.bytes(memory, heading, "id"), id);
            let sum = crc32(&memory[..doc.at(heading, "crc").0]);
            assert_eq!(doc.number(memory, heading, "crc"), u64::from(sum));
        };
        checked(&index, "Index header", b"mapstBKT");

        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(path.join("log")).expect("the log") {
            let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
            assert!(name.len() >= 10, "{name}");
            let number: u64 = name.parse().expect("a decimal number");
            let mut memory = read(&format!("log/{name}"));
            let h = "Segment header";
            checked(&memory, h, b"mapstSEG");
            assert_eq!(doc.number(&memory, h, "number"), number);
            let bytes = doc.number(&memory, h, "bytes");
            assert!(
                bytes >= segment_size && bytes.is_multiple_of(4096) && bytes <= memory.len() as u64
            );
            memory.truncate(size(bytes));
            segments.insert(number, memory);
        }
        let checkpoints = vec![read("checkpoint.a"), read("checkpoint.b")];
        Reader { doc, meta, index, checkpoints, segments, segment_size, mask }
    }

    fn header(&self, segment: u64, field: &str) -> u64 {
        self.doc.number(&self.segments[&segment], "Segment header", field)
    }

    fn cell(&self, field: &str) -> u64 {
        self.doc.number(&self.meta, "Live cells", field)
    }

    fn id(&self) -> &[u8] {
        self.doc.bytes(&self.meta, "Superblock", "id")
    }

    /// The valid record at a position of a segment.
    fn record(&self, segment: u64, position: u64) -> Option<Record> {
        let at = size(position - segment * self.segment_size);
        let memory = self.segments[&segment].get(at..)?;
        let r = "Record";
        let (last, len) = self.doc.at(r, "prev");
        if memory.len() < last + len {
            return None;
        }
        let flags = self.doc.number(memory, r, "flags");
        let flag = |field| self.doc.bits(flags, "Record flags", field) == 1;
        let kind = self.doc.number(memory, r, "kind");
        let prev = self.doc.number(memory, r, "prev");
        if kind == 0 || kind > 2 || flags > 7 || !prev.is_multiple_of(16) {
            return None;
        }
        let key_at = if flag("relocated") { 32 } else { 24 };
        let key_end = key_at + size(self.doc.number(memory, r, "key_len"));
        let value_at = key_end.next_multiple_of(16);
        let value_end = value_at + size(self.doc.number(memory, r, "value_len"));
        if value_end > memory.len() {
            return None;
        }
        let epoch = u32::try_from(self.header(segment, "epoch")).expect("four bytes");
        let low = |number: u64| u32::try_from(number & 0xFFFF_FFFF).expect("masked");
        let salt = crc32(self.id()) ^ epoch.wrapping_mul(0x9E37_79B1);
        let place = low((position / 16).wrapping_mul(0x85EB_CA6B)) ^ low(position >> 36);
        let sum = !crc_register(!(salt ^ place), &memory[4..value_end]);
        if self.doc.number(memory, r, "crc") != u64::from(sum) {
            return None;
        }
        Some(Record {
            position,
            table: u32::try_from(self.doc.number(memory, r, "table")).expect("four bytes"),
            key: memory[key_at..key_end].to_vec(),
            value: (kind == 1).then(|| memory[value_at..value_end].to_vec()),
            commit: flag("commit"),
            live_before: flag("live_before"),
            prev,
            size: value_end.next_multiple_of(16) as u64,
        })
    }

    /// The record at a position, which must be one.
    fn record_at(&self, position: u64) -> Record {
        self.record(position / self.segment_size, position).expect("a record at that position")
    }

    /// All records of complete batches from a position in a segment on, and where the last of them ends.
    fn log(&self, mut segment: u64, start: u64) -> (Vec<Record>, u64) {
        let (mut records, mut complete) = (Vec::new(), 0);
        let (mut position, mut end) = (start, start);
        loop {
            let covers = self.header(segment, "bytes").div_ceil(self.segment_size);
            let epoch = self.header(segment, "epoch");
            let next = Some(segment + covers).filter(|next| {
                self.segments.contains_key(next)
                    && self.header(*next, "prev_end") == position
                    && self.header(*next, "epoch") >= epoch
            });
            let higher = next.is_some_and(|next| self.header(next, "epoch") > epoch);
            let record = if higher { None } else { self.record(segment, position) };
            match (record, next) {
                (Some(record), _) => {
                    position += record.size;
                    let commit = record.commit;
                    records.push(record);
                    if commit {
                        (complete, end) = (records.len(), position);
                    }
                }
                (None, Some(next)) => {
                    segment = next;
                    position = next * self.segment_size + 64;
                }
                (None, None) => break,
            }
        }
        records.truncate(complete);
        (records, end)
    }

    fn whole_log(&self) -> Vec<Record> {
        let first = *self.segments.keys().next().expect("a segment");
        self.log(first, first * self.segment_size + 64).0
    }

    /// The newest record of each key that is visible at a position.
    fn state(&self, at: u64) -> State {
        let mut state = State::new();
        for record in self.whole_log() {
            if record.position < at {
                state.insert((record.table, record.key.clone()), record);
            }
        }
        state
    }

    fn hash(&self, table: u32, key: &[u8]) -> u64 {
        let seed = self.doc.number(&self.meta, "Superblock", "seed");
        let seed = seed.wrapping_add(u64::from(table).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let h = xxh3_64_with_seed(key, seed) & self.mask;
        let product = u128::from(h) * (0xAAAA_AAAA_AAAA_AAAA + u128::from(h / 3));
        u64::try_from(product >> 64).expect("below 2^64")
    }

    /// The entries of the directory that a cell names.
    fn directory(&self, cell: u64) -> Vec<u64> {
        let part = |field| self.doc.bits(cell, "Directory cell", field);
        let first = size(part("page")) * PAGE;
        (0..1usize << part("depth")).map(|i| word(&self.index, first + 8 * i)).collect()
    }

    /// The pages that an entry leads to, checked.
    fn pages(&self, entry: u64, prefix: u64) -> Vec<usize> {
        let part = |field| self.doc.bits(entry, "Directory entry", field);
        let (mut pages, mut page) = (Vec::new(), part("page"));
        loop {
            let memory = &self.index[size(page) * PAGE..][..PAGE];
            let header = |field| self.doc.number(memory, "Page header", field);
            assert_eq!(self.doc.bytes(memory, "Page header", "magic"), b"mBkt");
            assert_eq!(header("number"), page);
            assert_eq!(header("depth"), part("depth"));
            assert_eq!(header("prefix"), prefix);
            assert!(header("birth") <= self.cell("sequence"));
            pages.push(size(page));
            page = header("next");
            if page == 0 || part("chained") == 0 {
                return pages;
            }
        }
    }

    /// The position that a slot word holds, given the end of the log.
    fn position(&self, slot_word: u64, end: u64) -> Option<u64> {
        let low = self.doc.bits(slot_word, "Word cur", "position");
        if low < 4 {
            return None;
        }
        let window = 1i128 << 44;
        let units = i128::from(end / 16);
        let mut distance = (i128::from(low) - units).rem_euclid(window);
        if distance >= window / 2 {
            distance -= window;
        }
        Some(u64::try_from((units + distance) * 16).expect("a position"))
    }

    /// The stored bits of a used slot.
    fn stored(&self, cur: u64, prev: u64) -> u64 {
        self.doc.bits(cur, "Word cur", "tag") | self.doc.bits(prev, "Word prev", "tag") << 20
    }

    /// The key's newest record by the index. `settle` turns the words of a slot into what recovery makes of them.
    fn find(
        &self,
        directory: &[u64],
        end: u64,
        (table, key): (u32, &[u8]),
        settle: impl Fn(u64, u64) -> u64,
    ) -> Option<Record> {
        let hash = self.hash(table, key);
        let stored = hash >> 25;
        let depth = directory.len().ilog2();
        let prefix = |depth: u64| if depth == 0 { 0 } else { hash >> (64 - depth) };
        let entry = directory[size(prefix(depth.into()))];
        let own_depth = self.doc.bits(entry, "Directory entry", "depth");
        let start = 1 + size((((stored % (1 << 20)) * 0x9_E375 % (1 << 20)) * 63) >> 20);
        for page in self.pages(entry, prefix(own_depth)) {
            let lines = (start..64).chain(1..start);
            let mut overflow = false;
            for line in lines {
                let mut empty = false;
                for slot in 0..4 {
                    let at = page * PAGE + line * 64 + slot * 16;
                    let memory = &self.index[at..at + 16];
                    let cur = self.doc.number(memory, "Slot", "cur");
                    let prev = self.doc.number(memory, "Slot", "prev");
                    empty |= cur == 0;
                    if line == start && slot as u64 == stored % 4 {
                        overflow = self.doc.bits(prev, "Word prev", "overflow") == 1;
                    }
                    if self.stored(cur, prev) != stored {
                        continue;
                    }
                    let Some(position) = self.position(settle(cur, prev), end) else { continue };
                    let record = self.record_at(position);
                    if record.table == table && record.key == key {
                        assert!(line == start || overflow, "on a later line, without a bit");
                        return Some(record);
                    }
                }
                if empty {
                    break;
                }
            }
        }
        None
    }

    /// The newest valid checkpoint: position, segment, directory.
    fn checkpoint(&self) -> (u64, u64, Vec<u64>) {
        let (doc, h) = (&self.doc, "Checkpoint header");
        let valid = self.checkpoints.iter().filter(|memory| {
            if memory.len() < PAGE || doc.bytes(memory, h, "magic") != b"mapstCKP" {
                return false;
            }
            let sum = crc32(&memory[..doc.at(h, "crc").0]);
            assert_eq!(doc.number(memory, h, "crc"), u64::from(sum));
            assert_eq!(doc.number(memory, h, "version"), 1);
            assert_eq!(doc.bytes(memory, h, "id"), self.id());
            let words = (1 << doc.number(memory, h, "depth")) + 4 * doc.number(memory, h, "rows");
            let body = &memory[PAGE..][..8 * size(words)];
            assert_eq!(doc.number(memory, h, "body_crc"), u64::from(crc32(body)));
            true
        });
        let newest = valid.max_by_key(|memory| doc.number(memory, h, "sequence"));
        let memory = newest.expect("a valid checkpoint");
        let counters = doc.bytes(memory, h, "counters");
        let counter = |field| doc.number(counters, "Counters", field);
        let body = &memory[PAGE..][..8 << doc.number(memory, h, "depth")];
        let entries = body.chunks_exact(8).map(|entry| word(entry, 0)).collect();
        (counter("position"), counter("segment"), entries)
    }

    /// The number of a named table.
    fn table(&self, state: &State, name: &str) -> u32 {
        let number = |key: Vec<u8>| {
            let value = state[&(0, key)].value.clone().expect("a put");
            u32::from_le_bytes(value.try_into().expect("four bytes"))
        };
        let id = number([b"n", name.as_bytes()].concat());
        let back = &state[&(0, [&b"i"[..], &id.to_le_bytes()].concat())];
        assert_eq!(back.value.as_deref(), Some(name.as_bytes()));
        assert!(id >= 2 && id < number(Vec::new()));
        id
    }
}

/// What the library shows of one table.
fn shown(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    snapshot
        .iter()
        .map(|item| {
            let (key, value) = item.expect("a readable store");
            (key.to_vec(), value.to_vec())
        })
        .collect()
}

/// The same by the log alone, as the reader sees it.
fn by_log(state: &State, table: u32) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let records = state.values().filter(|record| record.table == table);
    records.filter_map(|record| Some((record.key.clone(), record.value.clone()?))).collect()
}

/// The log says what the library says, and the index leads to the newest record of every key.
fn compare(reader: &Reader, store: &Store) {
    let end = reader.cell("committed");
    assert_eq!(end, store.position().as_u64());
    let state = reader.state(end);
    let snapshot = store.snapshot().expect("a snapshot");
    assert_eq!(by_log(&state, 1), shown(&snapshot));
    for name in snapshot.tables().expect("a readable store") {
        let table = snapshot.table(&name).expect("a readable store").expect("a table");
        assert_eq!(by_log(&state, reader.table(&state, &name)), shown(&table), "{name}");
    }
    let directory = reader.directory(reader.cell("directory"));
    for ((table, key), record) in &state {
        let found = reader.find(&directory, end, (*table, key), |cur, _| cur);
        assert_eq!(found.expect("a slot").position, record.position, "{key:?} in {table}");
    }
    for i in 0..1000u32 {
        let key = [b"no", &i.to_le_bytes()[..]].concat();
        assert!(reader.find(&directory, end, (1, &key), |cur, _| cur).is_none());
    }
    counters(reader, store, &state, &directory);
}

/// The counters count what the document says they count.
fn counters(reader: &Reader, store: &Store, state: &State, directory: &[u64]) {
    let sets = ["counters_a", "counters_b"];
    let sets = sets.map(|set| reader.doc.bytes(&reader.meta, "Live cells", set));
    let counter = |set: &[u8], field: &str| reader.doc.number(set, "Counters", field);
    let end = reader.cell("committed");
    let set = sets.into_iter().find(|set| counter(set, "position") == end).expect("counters");
    let live = || state.values().filter(|record| record.value.is_some());
    let entries = live().filter(|record| record.table != 0).count() as u64;
    let live_bytes: u64 = live().map(|record| record.size).sum();
    let all_bytes: u64 =
        reader.whole_log().iter().filter(|r| r.position < end).map(|record| record.size).sum();
    assert_eq!(counter(set, "entries"), entries);
    assert_eq!(counter(set, "live_bytes"), live_bytes);
    assert_eq!(counter(set, "dead_bytes"), all_bytes - live_bytes);
    let stats = store.stats().expect("figures");
    assert_eq!((stats.entries, stats.live_bytes), (entries, live_bytes));
    assert_eq!(
        (stats.durable, stats.checkpoint),
        (reader.cell("durable"), reader.cell("checkpoint") & !15)
    );

    let (mut at, mut pages, depth) = (0, 0, directory.len().ilog2());
    while at < directory.len() {
        let entry = directory[at];
        let each = depth
            - u32::try_from(reader.doc.bits(entry, "Directory entry", "depth")).expect("six bits");
        for other in &directory[at..at + (1 << each)] {
            let page = |entry| reader.doc.bits(entry, "Directory entry", "page");
            assert_eq!(page(*other), page(entry), "entries that share a prefix lead to one page");
        }
        pages += reader.pages(entry, (at >> each) as u64).len() as u64;
        at += 1 << each;
    }
    assert_eq!(counter(set, "pages"), pages);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("log")).expect("a new folder");
    for dir in ["", "log"] {
        for entry in fs::read_dir(from.join(dir)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let name = path.file_name().expect("a name");
                fs::copy(&path, to.join(dir).join(name)).expect("a copy");
            }
        }
    }
}

/// Puts, overwrites, deletes, tables, large values, batches over several segments; the same every time.
fn exercise(store: &Store, keys: u32, round: u32) -> mapstone::Result<()> {
    let users = store.table("users")?;
    let large = vec![round.to_le_bytes()[0]; 9000];
    for i in 0..keys {
        let key = i.wrapping_mul(2_654_435_761) % (2 * keys);
        match (i + round) % 7 {
            0 => drop(store.delete(key.to_le_bytes())?),
            1 => users.put(key.to_le_bytes(), format!("user {key} of round {round}"))?,
            2 => store.put(format!("{:01$}", key, size(u64::from(key % 90))), "a longer key")?,
            _ => store.put(key.to_le_bytes(), vec![b'v'; size(u64::from(i % 60))])?,
        }
        if i % 500 == 250 {
            let mut batch = store.batch();
            batch.put("large", &large)?.put("small", round.to_le_bytes())?;
            batch.put_in(&users, "last", i.to_le_bytes())?.delete(key.to_le_bytes())?;
            batch.commit_with(if i % 1000 == 250 {
                Durability::Immediate
            } else {
                Durability::Eventual
            })?;
        }
        if i == keys / 2 {
            store.checkpoint()?;
        }
    }
    Ok(())
}

fn options() -> Options {
    let mut options = Options::new();
    options.segment_size(4096).background(false);
    options
}

#[test]
fn the_fields_of_each_table_follow_each_other() {
    let doc = Document::parse();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rows: Vec<_> = doc.fields.iter().collect();
    rows.sort_by_key(|((heading, _), (offset, _))| (heading.clone(), *offset));
    for ((heading, field), (first, second)) in rows {
        let bits = ["Record flags", "Directory cell", "Directory entry", "Word cur", "Word prev"];
        let end = if bits.contains(&heading.as_str()) { second + 1 } else { first + second };
        let before = ends.insert(heading, end).unwrap_or(0);
        assert!(*first >= before, "{heading}: {field} lies in the field before it");
    }
    for (heading, end) in [
        ("Superblock", 64),
        ("Live cells", 4400),
        ("Counters", 48),
        ("Clean record", 128),
        ("Segment header", 64),
        ("Record", 24),
        ("Record flags", 3),
        ("Index header", 64),
        ("Directory cell", 64),
        ("Directory entry", 64),
        ("Page header", 32),
        ("Slot", 16),
        ("Word cur", 64),
        ("Word prev", 64),
        ("Checkpoint header", 128),
        ("Usage", 64),
        ("Cursors", 64),
        ("Backups", 64),
    ] {
        assert_eq!(ends.get(heading), Some(&end), "{heading}");
    }
    assert_eq!(ends.len(), 18, "all tables are known to this test");
}

#[test]
fn a_cursor_is_the_file_that_the_document_tells_of() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    let store = options().open(&path)?;
    store.put("a", "1")?;
    let cursor = store.cursor("replica-1")?;
    let read = |name: &str| std::fs::read(path.join(name)).expect("a file of the store");
    let (doc, bytes, meta) = (Document::parse(), read("cursors/replica-1"), read("meta"));
    let (h, field) = ("Cursors", |name| doc.number(&bytes, "Cursors", name));
    assert_eq!(bytes.len(), 64);
    assert_eq!(&bytes[doc.at(h, "magic").0..][..8], b"mapstCUR");
    assert_eq!((field("version"), field("position")), (1, cursor.position().as_u64()));
    assert_eq!(format!("{}.{:x}", field("position"), field("era")), cursor.bookmark().to_string());
    let id = doc.at("Superblock", "id").0;
    assert_eq!(bytes[doc.at(h, "id").0..][..16], meta[id..][..16]);
    assert_eq!(field("crc"), u64::from(crc32(&bytes[..doc.at(h, "crc").0])));
    Ok(())
}

#[test]
fn a_reader_by_the_document_finds_what_the_library_finds() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    let store = options().open(&path)?;
    exercise(&store, 3000, 1)?;
    // Beside a writer, by the live cells.
    compare(&Reader::open(&path, u64::MAX), &store);
    assert_eq!(Reader::open(&path, u64::MAX).cell("writer"), u64::from(std::process::id()));
    store.drop_table("users")?;
    exercise(&store, 500, 2)?;
    store.close()?;

    let reader = Reader::open(&path, u64::MAX);
    let clean = "Clean record";
    let record = &reader.meta[2 * PAGE..];
    assert_eq!(reader.doc.bytes(record, clean, "magic"), b"mapstCLN");
    let sum = crc32(&record[..reader.doc.at(clean, "crc").0]);
    assert_eq!(reader.doc.number(record, clean, "crc"), u64::from(sum));
    for cell in ["directory", "sequence", "checkpoint", "watermark", "counted"] {
        assert_eq!(reader.doc.number(record, clean, cell), reader.cell(cell), "{cell}");
    }
    let counters = reader.doc.bytes(record, clean, "counters");
    let end = reader.doc.number(counters, "Counters", "position");
    assert_eq!((end, reader.cell("writer")), (reader.cell("committed"), 0));
    compare(&reader, &Store::open_read_only(&path)?);
    Ok(())
}

#[test]
fn a_reader_by_the_document_recovers_what_the_library_recovers() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut path = dir.path().join("0");
    options().open(&path)?.close()?;
    for round in 1..5 {
        let store = options().open(&path)?;
        exercise(&store, 700, round)?;
        // What a process that is killed here leaves, in another place: another life.
        let next = dir.path().join(round.to_string());
        copy(&path, &next);
        // A batch that was cut short: its commit mark is missing.
        cut_short(&next);
        drop(store);

        let reader = Reader::open(&next, u64::MAX);
        let (position, segment, directory) = reader.checkpoint();
        let (records, end) = reader.log(segment, position);
        assert!(!records.is_empty() && end > position);
        let mut newest: State = State::new();
        for record in records {
            newest.insert((record.table, record.key.clone()), record);
        }
        let settle = |cur, prev| match reader.position(cur, end) {
            Some(position) if position >= end => prev,
            _ => cur,
        };
        let state = reader.state(end);
        assert!(!newest.is_empty() && newest.len() < state.len());
        for ((table, key), record) in &state {
            let found = reader.find(&directory, end, (*table, key), settle);
            // From the checkpoint's index, or from the log after it, whichever is newer.
            let found = found.into_iter().chain(newest.get(&(*table, key.clone())).cloned());
            let found = found.max_by_key(|record| record.position).expect("a record");
            assert_eq!(found.position, record.position, "{key:?} in {table}");
        }

        let store = options().open(&next)?;
        let recovered = Reader::open(&next, u64::MAX);
        assert_eq!(recovered.state(u64::MAX).len(), state.len());
        compare(&recovered, &store);
        let last = *recovered.segments.keys().next_back().expect("a segment");
        assert_eq!(
            recovered.header(last, "epoch"),
            u64::from(round) + 1,
            "a recovery raises the epoch"
        );
        store.close()?;
        path = next;
    }
    Ok(())
}

/// Takes the commit mark off the last record, as if the writer had been killed before its batch was complete.
fn cut_short(path: &Path) {
    let reader = Reader::open(path, u64::MAX);
    let last = reader.whole_log().pop().expect("a record");
    let segment = last.position / reader.segment_size;
    let file = path.join(format!("log/{segment:010}"));
    let mut memory = fs::read(&file).expect("a segment");
    let at = size(last.position - segment * reader.segment_size);
    memory[at + reader.doc.at("Record", "flags").0] ^= 1;
    let mut meta = reader.meta.clone();
    fs::write(&file, memory).expect("a segment");
    // Nor had it been known durable.
    let durable = reader.doc.at("Live cells", "durable").0;
    meta[durable..durable + 8].copy_from_slice(&(reader.cell("checkpoint") & !15).to_le_bytes());
    fs::write(path.join("meta"), meta).expect("meta");
}

#[test]
fn the_versions_of_a_key_are_a_chain() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    let store = options().open(&path)?;
    let (mut history, mut ends) = (Vec::new(), Vec::new());
    for i in 0..100u32 {
        store.put("other", i.to_le_bytes())?;
        if i % 9 == 8 {
            store.delete("key")?;
            history.push(None);
        } else {
            store.put("key", i.to_le_bytes())?;
            history.push(Some(i.to_le_bytes().to_vec()));
        }
        ends.push(store.position().as_u64());
    }
    let reader = Reader::open(&path, u64::MAX);
    let directory = reader.directory(reader.cell("directory"));
    let mut record = reader
        .find(&directory, reader.cell("committed"), (1, b"key"), |cur, _| cur)
        .expect("a slot");
    for (i, value) in history.iter().enumerate().rev() {
        assert_eq!(record.value, *value);
        assert!(record.position < ends[i]);
        assert_eq!(record.live_before, i > 0 && history[i - 1].is_some());
        let at = reader.state(ends[i]);
        assert_eq!(at[&(1, b"key".to_vec())].value, *value, "the state at commit {i}");
        if i > 0 {
            assert!(record.prev < record.position && record.position >= ends[i - 1]);
            record = reader.record_at(record.prev);
        }
    }
    assert_eq!(record.prev, 0);
    Ok(())
}

#[test]
#[cfg(feature = "sim")]
fn keys_that_collide_are_found_through_chains() -> mapstone::Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db");
    let mask = 0xE000_0000_0000_0000;
    let store = options().hash_mask(mask).open(&path)?;
    exercise(&store, 3000, 1)?;
    let reader = Reader::open(&path, mask);
    let chained = |entry: &u64| reader.doc.bits(*entry, "Directory entry", "chained") == 1;
    assert!(reader.directory(reader.cell("directory")).iter().any(chained));
    compare(&reader, &store);
    Ok(())
}

/// The bytes of the document's dump.
fn dump() -> Vec<u8> {
    let (_, rest) = TEXT.split_once("```hex\n").expect("a dump");
    let (dump, _) = rest.split_once("```").expect("its end");
    let mut bytes = Vec::new();
    for line in dump.lines() {
        let (offset, row) = line.split_once("  ").expect("an offset and bytes");
        assert_eq!(usize::from_str_radix(offset, 16).expect("an offset"), bytes.len());
        bytes.extend(row.split(' ').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")));
    }
    bytes
}

#[test]
fn the_worked_example_is_a_real_file() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.1.0-clean");
    let file = fs::read(golden.join("log/0000000000")).expect("a golden store");
    assert_eq!(dump(), file[..112], "if the golden store was made anew, the dump is to be as well");
    let id: String = file[16..32].iter().map(|byte| format!("{byte:02x}")).collect();
    let words: Vec<&str> = TEXT.split_whitespace().collect();
    assert!(words.join(" ").contains(&format!("Its id is `{id}`.")), "{id}");

    // Each row of the explanation has the bytes that are there.
    let (_, rows) = TEXT.split_once("| offset | bytes | what they say |").expect("its explanation");
    for row in rows.lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let at: usize = cells[0].parse().expect("an offset");
        for (i, bytes) in cells[1].split(" … ").filter(|bytes| !bytes.is_empty()).enumerate() {
            let bytes: Vec<u8> = bytes
                .trim_matches('`')
                .split(' ')
                .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
                .collect();
            let at = if i == 0 { at } else { at + 16 - bytes.len() };
            assert_eq!(file[at..at + bytes.len()], bytes, "at {at}");
        }
        if let Some((_, number)) = cells[2].split_once(": 0x") {
            let number = u32::from_str_radix(number, 16).expect("a number");
            assert_eq!(file[at..at + 4], number.to_le_bytes(), "at {at}");
        }
    }

    let reader = Reader::open(&golden, u64::MAX);
    let first = reader.record(0, 64).expect("the record of the example");
    assert_eq!((first.key.as_slice(), first.value.as_deref()), (&b"apple"[..], Some(&b"red"[..])));
    assert_eq!((first.table, first.size, first.prev, first.commit), (1, 48, 0, true));
}

#[test]
fn a_record_elsewhere_or_of_another_epoch_is_none() {
    let golden: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/0.1.0-clean");
    let mut reader = Reader::open(&golden, u64::MAX);
    assert!(reader.record(0, 64).is_some());
    let memory = reader.segments.get_mut(&0).expect("the first segment");
    memory.copy_within(64..112, 1024);
    assert!(reader.record(0, 1024).is_none(), "another place");
    reader.segments.get_mut(&0).expect("the first segment")[56] += 1;
    assert!(reader.record(0, 64).is_none(), "another epoch");
}
