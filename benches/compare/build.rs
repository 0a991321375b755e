//! Finds the C libraries of RocksDB, Kyoto Cabinet and Tkrzw. Where one is missing, its peer is left out and the build says so.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for (feature, library, package, cfg) in [
        ("ROCKSDB", "rocksdb", "librocksdb-dev", "has_rocksdb"),
        ("KYOTO", "kyotocabinet", "libkyotocabinet-dev", "has_kyoto"),
        ("TKRZW", "tkrzw", "libtkrzw-dev", "has_tkrzw"),
    ] {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
        if std::env::var_os(format!("CARGO_FEATURE_{feature}")).is_none() {
            continue;
        }
        match pkg_config::Config::new().probe(library) {
            Ok(_) => println!("cargo:rustc-cfg={cfg}"),
            Err(_) => println!(
                "cargo:warning=skipped: {library}, for want of its library (Debian: {package})"
            ),
        }
    }
}
