//! The log of an SSH server under attack, as plain lines and as shippers send it: the 534 events of `events.ndjson`.

use crate::{as_json, code, decode_at, decoder, event, shipped};
use authseal::record::Outcome;
use serde_json::{Map, Value, json};

const LOG: &str = include_str!("../data/openssh/OpenSSH_2k.log");
const EVENTS: &str = include_str!("../data/openssh/events.ndjson");
/// 2025-12-31T00:00:00Z: the year of the log is not in it.
const CAME: i64 = 1_767_139_200_000;

/// The parts of a line: time, host, program, process, text.
fn parts(line: &str) -> (&str, &str, &str, &str, &str) {
    let (time, rest) = line.split_at(15);
    let (host, rest) = rest.trim_start().split_once(' ').unwrap();
    let (program, rest) = rest.split_once('[').unwrap();
    let (pid, rest) = rest.split_once(']').unwrap();
    (time, host, program, pid, rest.strip_prefix(": ").unwrap())
}

fn rfc3339(time: &str) -> String {
    let (_, clock) = time.split_at(7);
    format!("2025-12-10T{clock}Z")
}

/// The lines as other software sends them: whether as text, and each line made into a record.
type Form = (&'static str, bool, fn(&str) -> String);

const FORMS: [Form; 8] = [
    ("syslog", true, |line| line.to_owned()),
    ("syslog with priority", true, |line| format!("<38>{line}\r\n")),
    ("RFC 5424", true, |line| {
        let (time, host, program, pid, text) = parts(line);
        format!("<38>1 {} {host} {program} {pid} - - {text}", rfc3339(time))
    }),
    ("RFC 3339 of rsyslog and journald", true, |line| {
        let (time, host, program, pid, text) = parts(line);
        format!("{} {host} {program}[{pid}]: {text}", rfc3339(time))
    }),
    ("Fluent Bit, tail without a parser", false, |line| json!({"date": 1_767_100_000.5, "log": line}).to_string()),
    ("Fluent Bit, parser syslog-rfc3164-local", false, |line| {
        let (time, host, ident, pid, message) = parts(line);
        let at = rfc3339(time).parse::<jiff::Timestamp>().unwrap().as_second();
        json!({"@timestamp": at, "host": host, "ident": ident, "pid": pid, "message": message}).to_string()
    }),
    ("Vector, source file", false, |line| {
        json!({
            "file": "/var/log/auth.log", "host": "collector", "message": line, "source_type": "file",
            "timestamp": "2025-12-30T00:00:00Z",
        })
        .to_string()
    }),
    ("Vector, source syslog", false, |line| {
        let (time, host, program, pid, text) = parts(line);
        json!({
            "appname": program, "facility": "auth", "host": host, "hostname": host, "message": text,
            "procid": pid.parse::<u32>().unwrap(), "severity": "info", "source_ip": "192.0.2.1",
            "source_type": "syslog", "timestamp": rfc3339(time),
        })
        .to_string()
    }),
];

/// The events of the log, those that stand for several as often; and how many records were opaque.
fn events(form: &Form) -> (Vec<Map<String, Value>>, usize) {
    let (name, text, make) = form;
    let decoder = decoder(shipped("sshd"), *text);
    let (mut found, mut opaque) = (Vec::new(), 0);
    for line in LOG.lines() {
        let decoded = decode_at(&decoder, make(line).as_bytes(), CAME);
        match decoded.outcome {
            Outcome::Event(event) => {
                assert!(event.quality.is_empty(), "{name}: {line}: {:?}", event.quality);
                let mut fields = as_json(&event);
                let attributes = fields.get_mut("attributes").and_then(Value::as_object_mut);
                let repeated = attributes.and_then(|attributes| attributes.remove("repeated"));
                let times = repeated.map_or(1, |times| times.as_str().unwrap().parse().unwrap());
                found.extend(std::iter::repeat_n(fields, times));
            }
            Outcome::Opaque => opaque += 1,
            Outcome::Rejection(rejection) => panic!("{name}: {line}: {} {}", rejection.code, rejection.detail),
        }
    }
    (found, opaque)
}

#[test]
fn the_log_gives_its_534_events_however_it_is_sent() {
    let want: Vec<Map<String, Value>> = EVENTS
        .lines()
        .map(|line| {
            let mut fields: Map<String, Value> = serde_json::from_str(line).unwrap();
            // a line of syslog has no id: its place in Kafka is its id
            fields.remove("event_id");
            fields
        })
        .collect();
    assert_eq!(want.len(), 534);
    for form in &FORMS {
        let (found, opaque) = events(form);
        assert_eq!((found.len(), opaque), (534, 2000 - 526), "{}", form.0);
        for (found, want) in found.iter().zip(&want) {
            assert_eq!(Value::Object(found.clone()), Value::Object(want.clone()), "{}", form.0);
        }
    }
}

fn line(text: &str) -> String {
    format!("Dec 10 06:55:48 web1 {text}")
}

/// Lines of other programs, and what their events must have.
fn others() -> Vec<(&'static str, Value)> {
    vec![
        (
            "sshd[7]: Accepted publickey for ann from 2001:db8::1 port 22 ssh2: ED25519 SHA256:abc+/=",
            json!({"activity": "LOGON", "outcome": "SUCCESS", "user": "ann", "src_ip": "2001:db8::1",
                   "factor": "CERTIFICATE", "credential_id": "SHA256:abc+/="}),
        ),
        (
            "sshd-session[7]: Accepted keyboard-interactive/pam for ann from 192.0.2.7 port 22 ssh2",
            json!({"activity": "LOGON", "outcome": "SUCCESS", "user": "ann", "factor": null}),
        ),
        (
            "sudo:      ann : TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/usr/bin/id -u",
            json!({"activity": "PRIVILEGED_ACTION", "outcome": "SUCCESS", "user": "ann", "privileges": ["root"],
                   "resource": "/usr/bin/id -u", "source": "sudo"}),
        ),
        (
            "sudo:  ann : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/bin/sh",
            json!({"activity": "PRIVILEGED_ACTION", "outcome": "FAILURE", "reason": "invalid_credentials"}),
        ),
        (
            "sudo:  ann : user NOT in sudoers ; TTY=pts/0 ; PWD=/srv ; USER=root ; COMMAND=/bin/sh",
            json!({"outcome": "FAILURE", "reason": "policy", "reason_detail": "user NOT in sudoers"}),
        ),
        (
            "su[9]: (to root) ann on pts/0",
            json!({"activity": "IMPERSONATE", "outcome": "SUCCESS", "user": "root", "actor": "ann"}),
        ),
        (
            "su[9]: FAILED SU (to root) ann on pts/0",
            json!({"activity": "IMPERSONATE", "outcome": "FAILURE", "user": "root", "actor": "ann"}),
        ),
        (
            "login[9]: pam_unix(login:auth): authentication failure; logname=LOGIN uid=0 euid=0 tty=/dev/tty1 \
             ruser= rhost=  user=ann",
            json!({"activity": "LOGON", "outcome": "FAILURE", "user": "ann", "app": "login", "source": "pam"}),
        ),
        (
            "useradd[9]: new user: name=eve, UID=1001, GID=1001, home=/tmp/eve, shell=/bin/sh, from=none",
            json!({"activity": "ACCOUNT_CREATE", "user": "eve"}),
        ),
        (
            "usermod[9]: add 'eve' to group 'sudo'",
            json!({"activity": "PRIVILEGE_GRANT", "user": "eve", "privileges": ["sudo"]}),
        ),
        (
            "passwd[9]: pam_unix(passwd:chauthtok): password changed for ann",
            json!({"activity": "PASSWORD_CHANGE", "user": "ann", "factor": "PASSWORD"}),
        ),
    ]
}

/// The same lines with time and host.
pub fn other_lines() -> Vec<String> {
    others().iter().map(|(text, _)| line(text)).collect()
}

#[test]
fn other_programs_tell_their_events() {
    let decoder = decoder(shipped("sshd"), true);
    for (text, want) in others() {
        let found = as_json(&event(decode_at(&decoder, line(text).as_bytes(), CAME)));
        for (field, value) in want.as_object().unwrap() {
            assert_eq!(found.get(field).unwrap_or(&Value::Null), value, "{field} of {text}");
        }
    }
}

#[test]
fn who_chooses_a_user_name_chooses_no_address() {
    let decoder = decoder(shipped("sshd"), true);
    let text = "sshd[7]: Failed password for invalid user x from 10.0.0.1 port 1 ssh2 from 203.0.113.9 port 40 ssh2";
    let event = event(decode_at(&decoder, line(text).as_bytes(), CAME));
    assert_eq!(event.src_ip.as_deref(), Some("203.0.113.9"));
    assert_eq!(event.user.as_deref(), Some("x from 10.0.0.1 port 1 ssh2"));
}

#[test]
fn lines_of_a_known_program_that_nobody_knows_are_rejections_and_those_of_others_are_not() {
    let decoder = decoder(shipped("sshd"), true);
    let decode = |text: &str| decode_at(&decoder, line(text).as_bytes(), CAME);
    assert_eq!(code(&decode("sshd[7]: Something that a later version says")), "unmapped");
    assert_eq!(code(&decode_at(&decoder, b"no line of syslog", CAME)), "unmapped");
    assert_eq!(decode("CRON[7]: pam_unix(cron:session): session opened for user root").outcome, Outcome::Opaque);
    assert_eq!(decode("systemd-logind[7]: New session 5 of user ann.").outcome, Outcome::Opaque);
    // without the record's own time nobody knows the year
    let raw = authseal::record::RawRecord {
        value: Some(line("sshd[7]: Accepted password for a from 192.0.2.1 port 2 ssh2").into()),
        ..Default::default()
    };
    assert_eq!(code(&decoder.decode(&crate::chain(), &raw)), "impossible_time");
}
