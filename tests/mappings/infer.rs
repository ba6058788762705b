//! Proposals from the samples of every product: they load, and understand who, when and from where.

use authseal::{
    artifact::File,
    backtest::{self, Reading},
    decode::{Format, mapping},
    record::Outcome,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

fn infer(file: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_authseal")).args(["schemas", "infer"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Events with somebody, and with an address, of all records of a file.
fn understood(file: &Path, proposal: &str) -> (usize, usize, usize) {
    let mapping = File { path: "proposed.toml".into(), bytes: proposal.as_bytes().to_vec() };
    mapping::check(&mapping).unwrap_or_else(|problems| panic!("{}: {problems}\n{proposal}", file.display()));
    let format = Format::Mapped { mapping, text: false, zone: None };
    let reading = Reading { format, record_time: Some(1_796_000_000_000) };
    let bytes = std::io::BufReader::new(std::fs::File::open(file).unwrap());
    let mut lines = backtest::lines(Box::new(bytes), "samples", 0, &reading).unwrap();
    let (mut users, mut addresses, mut all) = (0, 0, 0);
    while let Some((record, _)) = lines.next().unwrap() {
        all += 1;
        if let Outcome::Event(event) = &record.outcome {
            assert!(event.time.0 > 0);
            users += usize::from(event.user.is_some() || event.user_id.is_some());
            addresses += usize::from(event.src_ip.is_some());
        }
    }
    (users, addresses, all)
}

#[test]
fn the_samples_of_every_product_give_a_mapping_that_finds_time_user_and_address() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    // percent of the records that have a user, and an address, at all
    for (file, users, addresses) in [
        ("okta/events.ndjson", 90, 90),
        ("keycloak/events.ndjson", 60, 90),
        ("keycloak/admin-events.ndjson", 60, 90),
        ("auth0/events.ndjson", 60, 80),
        ("duo/authentication.ndjson", 80, 60),
        ("ecs/events.ndjson", 90, 15),
        ("entra/sign-ins.ndjson", 80, 80),
        ("cloudtrail/events.ndjson", 70, 70),
        ("google-workspace/events.ndjson", 90, 90),
        ("ocsf/events.ndjson", 70, 40),
        ("openssh/events.ndjson", 90, 90),
    ] {
        let path = root.join(file);
        let proposal = infer(&path);
        let (user, address, all) = understood(&path, &proposal);
        let percent = |n: usize| n * 100 / all;
        assert!(
            percent(user) >= users && percent(address) >= addresses,
            "{file}: {}% users, {}% addresses of {all}\n{proposal}",
            percent(user),
            percent(address)
        );
    }
}

#[test]
fn what_is_no_json_is_said() {
    let root = env!("CARGO_MANIFEST_DIR");
    let file = format!("{root}/tests/data/openssh/OpenSSH_2k.log");
    let output = Command::new(env!("CARGO_BIN_EXE_authseal")).args(["schemas", "infer", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no line is a JSON object"));
}
