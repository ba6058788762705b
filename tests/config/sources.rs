//! Settings of what is read: topics that match, schema registries, databases, keys.

use super::*;

#[test]
fn patterns_find_topics_that_are_not_named_and_never_our_own() {
    let dir = folder();
    let text = MINIMAL.replace(
        "name = \"auth\"",
        "pattern = \".*\\\\.login\"\nretention = \"long\"\nformat = \"json\"\n\
         [[topics]]\npattern = \".*\"\nformat = \"json\"\n[[topics]]\nname = \"a.login\"",
    );
    let text = text
        + "retention = { period = \"30d\", classes = { long = { period = \"7d\" } } }\n\
        [rules]\nstate_topic = \"our.state\"\n[alerts]\ntopic = \"our.login\"\nshadow_topic = \"our.shadow\"\n";
    let config = good(&dir, &text, &[]);
    let by = config.by_topic(|topic| topic.name.clone());
    assert_eq!(by.get("a.login").map(String::as_str), Some("a.login"), "a name comes before patterns");
    assert_eq!(by.get("b.login").map(String::as_str), Some(".*\\.login"), "the first that matches");
    assert_eq!(by.get("other").map(String::as_str), Some(".*"));
    let finds = config.finds();
    assert!(finds("b.login") && finds("other") && !finds("a.login") && config.reads("a.login"));
    for own in ["our.login", "our.state", "our.shadow", "authseal.dead-letters", "__consumer_offsets"] {
        assert!(!finds(own) && !config.reads(own), "{own}");
    }
    let days = |topic: &str| config.store.classes.of(topic).expires.map(|expires| expires.as_secs() / 86_400);
    assert_eq!(["a.login", "b.login", "other"].map(days), [Some(30), Some(7), Some(30)]);
    assert!(
        config.to_json()["topics"][0]["pattern"] == ".*\\.login" && config.to_json()["topics"][0]["name"].is_null()
    );
}

/// The smallest good configuration with a topic of a registry.
fn with_registry(registry: &str) -> String {
    MINIMAL.replace("format = \"json\"", "format = \"confluent\"") + "[registry]\n" + registry
}

#[test]
fn schemas_come_from_a_registry_whose_secrets_are_not_shown() {
    let dir = folder();
    secret(dir.path(), "registry-password", "s3cret");
    let text = with_registry(
        "url = [\"https://a.example:8081/\", \"https://b.example:8081\"]\nuser = \"key\"\n\
         password_file = \"registry-password\"\ncache_dir = \"schemas\"\nwait = \"90s\"",
    );
    let config = good(&dir, &text, &[]);
    assert!(matches!(&config.topics[0].spec.format, Format::Registry { schemas } if schemas.is_empty()));
    let registry = config.registry.as_ref().unwrap();
    assert_eq!(registry.urls, ["https://a.example:8081", "https://b.example:8081"]);
    assert_eq!((registry.wait, registry.timeout), (Duration::from_secs(90), Duration::from_secs(5)));
    let shown = format!("{config:?}");
    assert!(shown.contains("a.example:8081") && shown.contains("90s") && !shown.contains("s3cret"), "{shown}");
    let env = [("AUTHSEAL_REGISTRY__TOKEN", "t0ken")];
    let token = good(&dir, &with_registry("url = \"https://a.example\""), &env);
    assert!(!format!("{token:?}").contains("t0ken"));
}

#[test]
fn what_is_wrong_with_a_registry_is_told_at_its_place() {
    let dir = folder();
    secret(dir.path(), "secret", "s3cret");
    for (registry, want) in [
        ("url = \"sr.example:8081\"", "registry.url: \"sr.example:8081\" is no URL"),
        ("url = \"http://sr.example\"\ntoken_file = \"secret\"", "in the clear: use https://"),
        ("url = \"https://sr.example\"\nuser = \"a\"", "registry.password_file: is missing"),
        ("url = \"https://sr.example\"\npassword_file = \"secret\"", "registry.user: is missing"),
        (
            "url = \"https://sr.example\"\nuser = \"a\"\npassword_file = \"secret\"\ntoken_file = \"secret\"",
            "has more than one of user, token_file and oauth",
        ),
        ("url = \"https://sr.example\"\npassword = \"x\"", "secrets do not belong in this file"),
        ("url = \"https://sr.example\"\nwait = \"2h\"", "registry.wait: is longer than seal.heartbeat (1h)"),
        ("url = \"https://sr.example\"\nca_file = \"seal.key\"", "holds no PEM certificate"),
        ("url = \"https://sr.example\"\n[registry.oauth]\nclient_id = \"x\"", "registry.oauth.url: is missing"),
        ("timeout = \"5s\"", "a [registry] with a url, or the schema files by id"),
    ] {
        let told = wrong(&dir, &with_registry(registry), &[]);
        assert!(told.contains(want), "{registry}: {told}");
    }
}

#[path = "../enrich/mmdb.rs"]
mod mmdb;

fn database(built: u64) -> Vec<u8> {
    let record = serde_json::json!({ "country": { "iso_code": "DE" } });
    mmdb::database("Test-Country", built, 24, &[("9.9.9.0/24", record)])
}

#[test]
fn databases_are_opened_and_what_is_none_is_named_at_its_place() {
    let dir = folder();
    let now = jiff::Timestamp::now().as_second() as u64;
    fs::write(dir.path().join("new.mmdb"), database(now - 86_400)).unwrap();
    fs::write(dir.path().join("old.mmdb"), database(now - 100 * 86_400)).unwrap();
    fs::write(dir.path().join("page.mmdb"), "<html>").unwrap();
    let with = |files: &str| format!("{MINIMAL}[enrich]\ndatabases = [{files}]\nuser_agent = true\n");
    let config = good(&dir, &with("\"new.mmdb\""), &[]);
    assert!(config.enrich.user_agent && config.enrich.databases[0].1.label().starts_with("Test-Country@"));
    assert!(!config.warnings.iter().any(|warning| warning.contains("days old")), "{:?}", config.warnings);
    let shown = config.to_json()["enrich"]["databases"][0]["database"].clone();
    assert_eq!(shown.as_str(), Some(config.enrich.databases[0].1.label()));
    let config = good(&dir, &with("\"old.mmdb\""), &[]);
    assert!(config.warnings.iter().any(|warning| warning.contains("is 100 days old")), "{:?}", config.warnings);
    let told = wrong(&dir, &with("\"new.mmdb\", \"page.mmdb\", \"none.mmdb\""), &[]);
    assert!(told.contains("enrich.databases.1: page.mmdb: it is no database in MaxMind's format"), "{told}");
    assert!(told.contains("enrich.databases.2: none.mmdb cannot be read"), "{told}");
    let nine = ["\"new.mmdb\""; 9].join(", ");
    assert!(wrong(&dir, &with(&nine), &[]).contains("names more than 8 databases"));
}

#[test]
fn the_key_of_correlation_is_shown_by_its_id_and_what_it_does_not_hide_is_said() {
    let dir = folder();
    secret(dir.path(), "correlate.key", &"cd".repeat(32));
    let with = |keep: &str, file: &str| {
        let second = "[[topics]]\nname = \"idp\"\nformat = \"json\"\n";
        let text = MINIMAL
            .replace("[seal]\n", &format!("{second}keep = \"{keep}\"\n[seal]\nwithhold_key_file = \"withhold.key\"\n"));
        if file.is_empty() { text } else { format!("{text}[correlate]\nkey_file = \"{file}\"\n") }
    };
    let said = |config: &Config, text: &str| config.warnings.iter().any(|warning| warning.contains(text));
    // one topic hashes, another does not
    let config = good(&dir, &with("event", ""), &[]);
    assert!(config.correlate.is_none() && said(&config, "do not join with those of auth"), "{:?}", config.warnings);
    let config = good(&dir, &with("value", ""), &[]);
    assert!(!said(&config, "join"), "{:?}", config.warnings);
    // with the key all do; the bytes of one are sealed all the same
    let config = good(&dir, &with("event", "correlate.key"), &[]);
    assert!(said(&config, "in the events of auth are HMACs, but their records are sealed as they came"));
    let json = config.to_json();
    assert_eq!(json["correlate"]["key"], "<redacted>");
    assert_eq!(json["correlate"]["key_id"].as_str().map(str::len), Some(8));
    let all =
        with("event", "correlate.key").replacen("format = \"json\"\n", "format = \"json\"\nkeep = \"event\"\n", 1);
    assert!(!said(&good(&dir, &all, &[]), "correlate"));
    // not just any key
    let told = wrong(&dir, &with("event", "withhold.key"), &[]);
    assert!(told.contains("correlate.key_file") && told.contains("make a key of its own"), "{told}");
    secret(dir.path(), "bad.key", "not a key");
    assert!(wrong(&dir, &with("event", "bad.key"), &[]).contains("is neither 64 hexadecimal digits"));
    let variable = [("AUTHSEAL_CORRELATE__KEY", "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd")];
    assert!(good(&dir, &with("event", ""), &variable).correlate.is_some());
    let inline = format!("{}[correlate]\nkey = \"{}\"\n", with("event", ""), "cd".repeat(32));
    assert!(wrong(&dir, &inline, &[]).contains("secrets do not belong in this file"));
}
