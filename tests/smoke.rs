//! smoke
use mapstone::*;
#[test]
fn smoke() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let s = Options::new().segment_size(1 << 16).open(&path).unwrap();
    for i in 0..20000u32 {
        s.put(i.to_le_bytes(), format!("value{i}")).unwrap();
    }
    for i in 0..20000u32 {
        assert_eq!(
            s.get(i.to_le_bytes()).unwrap().as_deref(),
            Some(format!("value{i}").as_bytes()),
            "{i}"
        );
    }
    assert_eq!(s.snapshot().unwrap().len().unwrap(), 20000);
    println!("{:?}", s.stats().unwrap());
    let v = s.verify().unwrap();
    assert!(v.is_ok(), "{v:?}");
    s.close().unwrap();
    let s = Store::open(&path).unwrap();
    assert_eq!(s.stats().unwrap().entries, 20000);
    let mut b = s.batch();
    for i in 0..20000u32 {
        b.put(i.to_le_bytes(), format!("x{i}")).unwrap();
        if b.len() == 1000 {
            b.commit().unwrap();
        }
    }
    for i in 0..20000u32 {
        assert_eq!(
            s.get(i.to_le_bytes()).unwrap().as_deref(),
            Some(format!("x{i}").as_bytes()),
            "{i}"
        );
    }
    let t = s.table("users").unwrap();
    t.put("a", "b").unwrap();
    assert_eq!(s.tables().unwrap(), ["users"]);
    assert!(s.drop_table("users").unwrap());
    assert!(t.put("a", "c").is_err());
    let v = s.verify().unwrap();
    assert!(v.is_ok(), "{v:?}");
    std::mem::forget(s);
}
