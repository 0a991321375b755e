#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mapstone_fuzz::run("index", data));
