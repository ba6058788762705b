//! Tests of mappings.

use super::*;

#[test]
fn every_shipped_mapping_loads() {
    for (name, text) in SHIPPED {
        let file = shipped(name).unwrap();
        assert_eq!(file.bytes, text.as_bytes());
        let about = check(&file).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(about.name, *name);
        assert!(describe(&file).unwrap().contains("| field | taken from |"));
    }
}
