//! The language: what is wrong is told with its place, and events of products that are not shipped can be expressed.

use crate::{as_json, code, decode, decoder, event, written};
use authseal::{
    decode::{Decoder, Format, TopicSpec, mapping},
    record::{Outcome, RawRecord},
};
use serde_json::json;

const HEAD: &str = "mapping = 1\nname = \"t\"\nproduct = \"T\"\nabout = \"T.\"\ninput = \"json\"\n";

fn problems(rest: &str) -> String {
    match mapping::check(&written(&format!("{HEAD}{rest}"))) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_what_was_meant() {
    let time = "[fields]\ntime = \"t\"\n";
    for (rest, want) in [
        ("", "test.toml:1:1: no field `time` is mapped"),
        (
            "[fields]\ntime = \"t\"\nusr = \"u\"\n",
            "test.toml:8:1: \"usr\" is no field of an event: did you mean `user`?",
        ),
        (
            "[fields]\ntime = \"t\"\nactivity = { value = \"LOGN\" }\n",
            "test.toml:8:22: \"LOGN\" is no activity: did you",
        ),
        ("[fields]\ntime = \"t\"\nuser = \"a..b\"\n", "test.toml:8:8: the path \"a..b\": a name is missing"),
        ("[fields]\ntime = \"t\"\nuser = { frm = \"a\" }\n", "needs one of from, value, text, record"),
        (
            "[fields]\ntime = \"t\"\nuser = { from = \"a\", unles = \"x\" }\n",
            "\"unles\" is unknown: did you mean `unless`?",
        ),
        ("[fields]\ntime = { from = \"t\", time = \"iso\" }\n", "test.toml:7:29: \"iso\" is no form of time"),
        (
            "[fields]\ntime = \"t\"\nfactor = { from = \"f\", table = \"x\" }\n[tables.y]\na = \"OTP\"\n",
            "there is no table",
        ),
        ("[fields]\ntime = \"t\"\nfactor = { from = \"f\", table = { a = \"OPT\" } }\n", "\"OPT\" is no factor"),
        ("[fields]\ntime = \"t\"\nuser = { from = \"a\", pattern = '(x' }\n", "the pattern \"(x\": unclosed group"),
        ("colour = 1\n[fields]\ntime = \"t\"\n", "test.toml:6:1: \"colour\" is unknown"),
        ("[[event]]\nname = \"x\"\nignore = \"y\"\nfields.user = \"u\"\n", "what is ignored becomes no event"),
        (
            "[fields]\ntime = \"t\"\n[[lookup]]\non = \"x\"\ntable = \"a\"\n[tables.a]\nb = \"c\"\n",
            "the rows of a [[lookup]] name",
        ),
        ("[fields]\ntime = \"t\"\n[[parse]]\nfrom = \"x\"\n", "a [[parse]] has one of pattern, pairs, json"),
        ("[fields]\ntime = \"t\"\nquality = \"x\"\n", "quality is what authseal says"),
        ("[fields\n", "test.toml:6:"),
    ] {
        let told = problems(rest);
        assert!(told.contains(want), "{rest}\n{told}");
    }
    assert_eq!(problems(time), "");
    // all at once
    assert_eq!(problems("[fields]\ntime = \"t\"\nusr = \"u\"\nacr = { value = \"high\" }\n").lines().count(), 2);
    let bad = authseal::artifact::File { path: "x".into(), bytes: vec![0xff] };
    assert!(mapping::check(&bad).unwrap_err().to_string().contains("not UTF-8"));
}

fn map(rest: &str) -> Decoder {
    decoder(written(&format!("{HEAD}{rest}")), false)
}

#[test]
fn products_that_are_not_shipped_can_be_expressed() {
    // a sign-in to the AWS console in CloudTrail
    let cloudtrail =
        map("[fields]\ntime = \"eventTime\"\nuser = \"userIdentity.userName\"\nsrc_ip = \"sourceIPAddress\"\n\
         is_mfa = { from = \"additionalEventData.MFAUsed\", table = { Yes = true, No = false } }\n\
         outcome = { from = \"responseElements.ConsoleLogin\", table = \"outcomes\" }\n\
         activity = { value = \"LOGON\" }\n[tables.outcomes]\nSuccess = \"SUCCESS\"\nFailure = \"FAILURE\"\n");
    let record = json!({"eventTime": "2025-12-10T06:55:48Z", "eventName": "ConsoleLogin",
        "userIdentity": {"type": "IAMUser", "userName": "ann"}, "sourceIPAddress": "192.0.2.1",
        "additionalEventData": {"MFAUsed": "Yes"}, "responseElements": {"ConsoleLogin": "Failure"}});
    let found = as_json(&event(decode(&cloudtrail, &record.to_string())));
    assert_eq!((&found["is_mfa"], &found["outcome"], &found["user"]), (&json!(true), &json!("FAILURE"), &json!("ann")));

    // Google Workspace: parameters by name
    let google = map(
        "[fields]\ntime = \"id.time\"\nuser = \"actor.email\"\nsrc_ip = \"ipAddress\"\naction = \"events[0].name\"\n\
         protocol = \"events[0].parameters[name=login_type].value\"\n\
         privileges = \"events[0].parameters[name=login_challenge_method].multiValue[*]\"\n",
    );
    let record = json!({"id": {"time": "2025-12-10T06:55:48.123Z"}, "actor": {"email": "ann@example.test"},
        "ipAddress": "192.0.2.1", "events": [{"name": "login_success", "parameters": [
            {"name": "login_challenge_method", "multiValue": ["password", "idv_preregistered_phone"]},
            {"name": "login_type", "value": "saml"}]}]});
    let found = as_json(&event(decode(&google, &record.to_string())));
    assert_eq!((&found["protocol"], &found["action"]), (&json!("saml"), &json!("login_success")));
    assert_eq!(found["privileges"], json!(["password", "idv_preregistered_phone"]));

    // OCSF: numbers stand for symbols
    let ocsf = map("[fields]\ntime = { from = \"time\", time = \"epoch_ms\" }\nuser = \"user.name\"\n[[lookup]]\n\
         on = { text = \"{class_uid}/{activity_id}\" }\ntable = \"a\"\n[[lookup]]\non = \"status_id\"\ntable = \"s\"\n\
         [tables.a]\n\"3002/1\" = { activity = \"LOGON\" }\n\"3002/2\" = { activity = \"LOGOFF\" }\n\
         [tables.s]\n1 = { outcome = \"SUCCESS\" }\n2 = { outcome = \"FAILURE\" }\n0 = { outcome = \"UNKNOWN\" }\n");
    let record = json!({"class_uid": 3002, "activity_id": 2, "status_id": 2, "time": 1_765_349_748_001_i64,
        "user": {"name": "ann"}});
    let found = as_json(&event(decode(&ocsf, &record.to_string())));
    assert_eq!((&found["activity"], &found["outcome"]), (&json!("LOGOFF"), &json!("FAILURE")));

    // Okta: the target that is a user, the factor in a string of JSON
    let okta =
        map("[fields]\ntime = \"published\"\nuser = [\"target[type=User].alternateId\", \"actor.alternateId\"]\n\
         actor = { from = \"actor.alternateId\", when = { \"target[type=User].alternateId\" = { exists = true } } }\n\
         session = { from = \"authenticationContext.externalSessionId\", unless = \"unknown\" }\n\
         device_token = \"debugContext.debugData.dtHash\"\n");
    let record = json!({"published": "2025-12-10T06:55:48.123Z", "eventType": "user.mfa.factor.deactivate",
        "actor": {"alternateId": "admin@example.test"}, "authenticationContext": {"externalSessionId": "unknown"},
        "target": [{"type": "AppInstance", "alternateId": "x"}, {"type": "User", "alternateId": "ann@example.test"}],
        "debugContext": {"debugData": {"dtHash": "d1"}}});
    let found = as_json(&event(decode(&okta, &record.to_string())));
    assert_eq!((&found["user"], &found["actor"]), (&json!("ann@example.test"), &json!("admin@example.test")));
    assert_eq!((found.get("session"), &found["device_token"]), (None, &json!("d1")));
}

#[test]
fn values_of_the_wrong_kind_are_told() {
    let decoder = map("[fields]\ntime = \"t\"\nuser = \"u\"\nsrc_ip = \"ip\"\nacr = \"acr\"\n");
    let record = r#"{"t": 1765349748, "u": {"name": "x"}, "ip": "1.2.3.4:443", "acr": "high"}"#;
    let event = event(decode(&decoder, record));
    assert_eq!(event.quality, ["user:invalid", "src_ip:port", "acr:invalid"]);
    assert_eq!(event.attributes.get("raw.acr"), Some("high"));
    for (record, want) in [
        (r#"{"u": "x"}"#, "missing_time"),
        (r#"{"t": "soon", "u": "x"}"#, "impossible_time"),
        (r#"{"t": 1765349748}"#, "no_identity"),
        (r#"{"t": 1765349748, "u": "x"} x"#, "trailing_bytes"),
        (r#"{"t": 1, "t": 2}"#, "json_form"),
        ("[1]", "json_form"),
        ("{", "not_json"),
        (" ", "not_json"),
    ] {
        assert_eq!(code(&decode(&decoder, record)), want, "{record}");
    }
}

#[test]
fn what_must_not_be_kept_is_found_wherever_it_stands() {
    let rest = "[[parse]]\nfrom = \"s\"\njson = { into = \"s\" }\n[[parse]]\nfrom = \"kv\"\npairs = { into = \"kv\" }\n\
                [fields]\ntime = \"t\"\nuser = \"u\"\n[attributes]\nunmapped = true\n";
    let file = written(&format!("{HEAD}{rest}"));
    let format = Format::Mapped { mapping: file, text: false, zone: None };
    let secret_fields = vec!["password".to_owned(), "a.b".to_owned()];
    let spec = TopicSpec { format, source: None, tenant: None, keep_event_only: false, secret_fields };
    let decoder = Decoder::new(spec.clone(), &[7; 32]).unwrap();
    for (member, want) in [
        (r#""password": "x""#, "secret_field"),
        (r#""deep": {"Password": "x"}"#, "secret_field"),
        (r#""a": {"b": 1}"#, "secret_field"),
        (r#""s": "{\"password\":\"x\"}""#, "secret_field"),
        (r#""kv": "x=1 password=secret""#, "secret_field"),
        (r#""face_image": "x""#, "biometric"),
        (r#""fp": {"template": "x"}, "fingerprint_template": "AAAA""#, "biometric"),
    ] {
        let value = format!(r#"{{"t": 1765349748, "u": "x", {member}}}"#);
        let decoded = decode(&decoder, &value);
        assert_eq!(code(&decoded), want, "{member}");
        assert!(decoded.withheld.is_some(), "{member}");
    }
    // and where only the event is kept, what nothing asks for is not in it
    let decoder = Decoder::new(TopicSpec { keep_event_only: true, secret_fields: vec![], ..spec }, &[7; 32]).unwrap();
    let decoded = decode(&decoder, r#"{"t": 1765349748, "u": "x", "cookie": "c"}"#);
    assert_eq!(decoded.withheld.as_ref().map(|w| w.code), Some("keep_event"));
    assert!(event(decoded).attributes.is_empty());
}

#[test]
fn the_mapping_is_among_the_files_in_force() {
    let decoder = map("[fields]\ntime = \"t\"\n");
    let paths: Vec<String> = decoder.files().into_iter().map(|file| file.path).collect();
    assert_eq!(paths, ["schemas/auth_event.avsc", "test.toml"]);
    let tombstone = decoder.decode(&crate::chain(), &RawRecord::default());
    assert_eq!(tombstone.outcome, Outcome::Opaque);
    let no_text =
        Format::Mapped { mapping: written(&format!("{HEAD}[fields]\ntime = \"t\"\n")), text: true, zone: None };
    let spec =
        TopicSpec { format: no_text, source: None, tenant: None, keep_event_only: false, secret_fields: Vec::new() };
    assert!(Decoder::new(spec, &[0; 32]).is_err());
}
