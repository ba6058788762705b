//! From what stands in the records to a mapping file: a path for each field that speaks for itself, tables with every
//! value for those that a person must decide, and the rest as a list.

use super::{Seen, Shape, Survey};
use crate::decode::guard::names;
use std::fmt::Write;

/// Values of a table are few: more are no kinds but names.
const MAX_KINDS: usize = 48;
/// Samples of a path that are shown, and how much of each.
const SAMPLES: usize = 3;
const SAMPLE: usize = 32;

/// What a field wants: endings of paths (words joined with dots, the best first), and whether the values may be its.
struct Want {
    field: &'static str,
    names: &'static [&'static str],
    fits: fn(&Seen) -> bool,
}

const fn want(field: &'static str, names: &'static [&'static str], fits: fn(&Seen) -> bool) -> Want {
    Want { field, names, fits }
}

fn anything(seen: &Seen) -> bool {
    seen.part(|shape| shape != Shape::Bool) > 0.5
}

fn is_moment(shape: Shape) -> bool {
    matches!(shape, Shape::Moment | Shape::Epoch(_))
}

fn is_kind(seen: &Seen) -> bool {
    seen.kinds().is_some_and(|kinds| (1..=MAX_KINDS).contains(&kinds))
        && seen.part(|s| matches!(s, Shape::Moment | Shape::Address)) < 0.1
}

/// In the order in which fields choose: each path is taken once.
const WANTS: &[Want] = &[
    want(
        "time",
        &[
            "time",
            "timestamp",
            "eventtime",
            "published",
            "ts",
            "date",
            "createddatetime",
            "activitydatetime",
            "occurredat",
            "isotimestamp",
            "createdat",
            "created",
            "datetime",
            "at",
        ],
        |seen| seen.part(is_moment) > 0.95,
    ),
    want(
        "src_ip",
        &[
            "srcip",
            "sourceipaddress",
            "sourceip",
            "client.ip",
            "client.ipaddress",
            "clientip",
            "calleripaddress",
            "accessdevice.ip",
            "accessdevice.ip.address",
            "source.ip",
            "srcendpoint.ip",
            "remoteip",
            "remoteaddr",
            "ipaddress",
            "ip",
        ],
        |seen| seen.part(|shape| shape == Shape::Address) > 0.6,
    ),
    want(
        "user",
        &[
            "userprincipalname",
            "username",
            "login",
            "actor.alternateid",
            "user.name",
            "user.email",
            "actor.email",
            "user.login",
            "details.username",
            "email",
            "user",
            "account.name",
            "account",
            "principal",
            "actor.name",
            "alternateid",
            "upn",
            "who.name",
            "subject",
        ],
        |seen| seen.part(|s| matches!(s, Shape::Text | Shape::Mail | Shape::Id | Shape::Country)) > 0.6,
    ),
    want(
        "user_id",
        &["userid", "user.id", "user.uid", "actor.id", "actor.profileid", "principalid", "uid", "sub", "user.key"],
        anything,
    ),
    want("event_id", &["eventid", "event.id", "uuid", "logid", "id", "metadata.uid", "txid"], |seen| {
        seen.many || seen.values.len() as f64 > 0.9 * seen.records as f64
    }),
    want("session", &["sessionid", "externalsessionid", "session.uid", "session.id", "sid", "session"], anything),
    want("user_agent", &["useragent", "rawuseragent", "httprequest.useragent", "ua"], anything),
    want(
        "activity",
        &[
            "eventname",
            "eventtype",
            "action.name",
            "activity",
            "operationtype",
            "operationname",
            "activitydisplayname",
            "event.action",
            "action",
            "events.name",
            "event",
            "operation",
            "typename",
            "type",
            "what",
        ],
        is_kind,
    ),
    want(
        "outcome",
        &["outcome.result", "outcome", "result", "success", "ok", "status", "resulttype", "consolelogin", "error"],
        |seen| seen.kinds().is_some_and(|kinds| (1..=16).contains(&kinds)),
    ),
    want("reason_detail", &["reason", "failurereason", "errormessage", "errorcode", "error", "message"], anything),
    want("country", &["countryisocode", "countrycode", "regioncode", "country"], |seen| {
        seen.part(|shape| shape == Shape::Country) > 0.8
    }),
    want("city", &["city", "cityname"], anything),
    want("tenant", &["tenantid", "tenant", "realmname", "realmid", "realm", "orgid", "organization"], anything),
    want("app", &["appdisplayname", "application.name", "clientname", "app.name", "application", "app"], anything),
    want("client_id", &["clientid", "appid"], anything),
    want("dst_host", &["hostname", "host.name", "dsthost", "host"], anything),
    want("device", &["deviceid", "device.id", "authdevice.name"], anything),
    want("trace_id", &["traceid", "trace.id"], anything),
    want("request_id", &["requestid", "correlationid", "transaction.id"], anything),
];

/// A path that was chosen for a field.
struct Chosen<'a> {
    field: &'static str,
    paths: Vec<(&'a str, &'a Seen)>,
}

/// The mapping file, as text: it loads, and says where a person must decide.
pub fn propose(survey: &Survey, name: &str) -> String {
    let chosen = choose(survey);
    let mut out = String::new();
    let slug: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    let slug = slug.trim_matches('-');
    let slug = if slug.is_empty() { "mine" } else { slug };
    // writing to a string cannot fail
    let _ = write!(
        out,
        "# A first proposal from {} records. Look at every line: the comments that say DECIDE need you. Then\n\
         #   authseal schemas try --mapping THIS_FILE RECORDS\n\
         # shows what becomes of each record. The language is in docs/mappings.md.\n\
         mapping = 1\nname = \"{slug}\"\nproduct = \"{slug}\"              # DECIDE: product and version\n\
         about = \"Proposed from samples.\"\ninput = \"json\"\n\n[fields]\n",
        survey.records
    );
    for wanted in ["time", "user", "activity", "outcome"] {
        if !chosen.iter().any(|chosen| chosen.field == wanted) {
            let _ = writeln!(out, "# DECIDE: nothing looks like {wanted}");
        }
    }
    chosen.iter().for_each(|chosen| field(chosen, survey.records, &mut out));
    let _ = writeln!(out, "source = {{ value = \"{slug}\" }}");
    let _ = write!(out, "\n[attributes]\nunmapped = true          # DECIDE: false, if what is left says nothing\n");
    for chosen in chosen.iter().filter(|chosen| is_table(chosen.field)) {
        table(chosen, &mut out);
    }
    rest(survey, &chosen, &mut out);
    out
}

fn is_table(field: &str) -> bool {
    matches!(field, "activity" | "outcome")
}

/// A path by its words: lower case, without what is no letter or digit, places in arrays left out.
fn words(path: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ if inside => {}
            '.' => out.push('.'),
            c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    out
}

/// How well the end of a path is one of the names: smaller is better.
fn rank(words: &str, names: &[&str]) -> Option<usize> {
    let ends = |name: &str| words == name || words.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
    names.iter().position(|name| ends(name))
}

fn choose(survey: &Survey) -> Vec<Chosen<'_>> {
    let mut chosen: Vec<Chosen<'_>> = Vec::new();
    for want in WANTS {
        let free = |path: &str| !chosen.iter().any(|other| other.paths.iter().any(|(taken, _)| *taken == path));
        let fits = survey.paths.iter().filter(|(path, seen)| free(path) && (want.fits)(seen));
        let mut fits: Vec<(usize, usize, &str, &Seen)> = fits
            .filter_map(|(path, seen)| {
                let rank = rank(&words(path), want.names)?;
                // what only a few records have does not speak for all, and what lies deep is about something else
                let depth = path.matches('.').count() + 3 * usize::from(path.contains('['));
                Some((rank + 2 * depth, rank, path.as_str(), seen))
            })
            .collect();
        if fits.is_empty() && want.field == "src_ip" {
            let addresses = survey.paths.iter().filter(|(path, seen)| free(path) && (want.fits)(seen));
            fits.extend(addresses.map(|(path, seen)| (path.matches('.').count(), 0, path.as_str(), seen)));
        }
        if fits.is_empty() && want.field == "time" {
            let moments = survey.paths.iter().filter(|(_, seen)| (want.fits)(seen) && seen.records == survey.records);
            fits.extend(moments.map(|(path, seen)| (path.matches('.').count(), 0, path.as_str(), seen)));
        }
        // first what most records have, in steps of a quarter; then the better name
        let quarter = |seen: &Seen| {
            let lacking = survey.records.saturating_sub(seen.records) * 4 / survey.records.max(1);
            // what is always the same tells no kinds apart
            lacking + 2 * u64::from(want.field == "activity" && seen.kinds() == Some(1))
        };
        fits.sort_by_key(|(score, rank, path, seen)| (quarter(seen), *score, *rank, path.len()));
        let Some((_, _, first, seen)) = fits.first().copied() else { continue };
        let mut paths = vec![(first, seen)];
        // where some records lack it, others may have it elsewhere
        if seen.records < survey.records && !is_table(want.field) {
            let more = fits.iter().skip(1).take(2).map(|(_, _, path, seen)| (*path, *seen));
            paths.extend(more);
        }
        chosen.push(Chosen { field: want.field, paths });
    }
    chosen
}

/// A text as TOML, in quotes.
fn toml(text: &str) -> String {
    ::toml::Value::String(text.to_owned()).to_string()
}

fn field(chosen: &Chosen<'_>, records: u64, out: &mut String) {
    let paths: Vec<String> = chosen.paths.iter().map(|(path, _)| toml(path)).collect();
    let one = match &paths[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let epoch = chosen.paths.iter().any(|(_, seen)| seen.part(|shape| matches!(shape, Shape::Epoch(_))) > 0.5);
    let value = match chosen.field {
        field if is_table(field) => format!("{{ from = {one}, table = \"{field}\" }}"),
        _ if paths.len() > 1 => format!("{{ from = {one} }}"),
        _ => one,
    };
    let best: u64 = chosen.paths.iter().map(|(_, seen)| seen.records).max().unwrap_or(0);
    let part = best * 100 / records.max(1);
    let word = match chosen.field {
        "time" if epoch => "a number whose unit its size tells",
        "time" => "RFC 3339",
        _ => "",
    };
    let note = if part < 100 { format!("in {part} % of the records") } else { String::new() };
    let note = [word, &note].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ");
    let _ = match note.is_empty() {
        true => writeln!(out, "{} = {value}", chosen.field),
        false => writeln!(out, "{} = {value}  # {note}", chosen.field),
    };
}

fn table(chosen: &Chosen<'_>, out: &mut String) {
    let Some((path, seen)) = chosen.paths.first() else { return };
    let _ = write!(out, "\n# DECIDE what each value of {} means; \"\" says nothing, without a remark.\n", path);
    let _ = writeln!(out, "[tables.{}]", chosen.field);
    let mut values: Vec<_> = seen.values.iter().filter(|(value, _)| !value.is_empty()).collect();
    values.sort_by_key(|(value, count)| (std::cmp::Reverse(**count), value.as_str()));
    for (value, count) in values {
        let guess = if chosen.field == "outcome" { outcome(value) } else { activity(value) };
        let (symbol, word) = match guess {
            Some(symbol) => (symbol, "guessed by its name"),
            None if chosen.field == "outcome" => ("UNKNOWN", "DECIDE"),
            None => ("OTHER", "DECIDE"),
        };
        let _ = writeln!(out, "{} = \"{symbol}\"  # {count} records, {word}", toml(value));
    }
}

fn outcome(value: &str) -> Option<&'static str> {
    let value = value.to_lowercase();
    match value.as_str() {
        "success" | "succeeded" | "successful" | "ok" | "true" | "allow" | "allowed" | "pass" | "passed"
        | "granted" => Some("SUCCESS"),
        "failure" | "failed" | "fail" | "false" | "deny" | "denied" | "error" | "reject" | "rejected" | "fraud" => {
            Some("FAILURE")
        }
        _ => None,
    }
}

fn activity(value: &str) -> Option<&'static str> {
    let words: String = value.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
    let (gone, made) =
        (has(&["delete", "remove", "unenroll", "disable"]), has(&["create", "add", "enroll", "register"]));
    Some(match () {
        () if has(&["impersonat"]) => "IMPERSONATE",
        () if has(&["logout", "logoff", "signout", "sessionend"]) => "LOGOFF",
        () if has(&["mfa", "factor", "otp", "2sv", "2fa", "webauthn", "totp"]) && gone => "MFA_REMOVE",
        () if has(&["mfa", "factor", "otp", "2sv", "2fa", "webauthn", "totp"]) && made => "MFA_ENROLL",
        () if has(&["password"]) && has(&["reset", "forgot"]) => "PASSWORD_RESET",
        () if has(&["password"]) && has(&["change", "update"]) => "PASSWORD_CHANGE",
        () if has(&["unlock"]) => "ACCOUNT_UNLOCK",
        () if has(&["lockout", "accountlock", "userlock", "locked"]) => "ACCOUNT_LOCK",
        () if has(&["refreshtoken", "tokenrefresh"]) => "TOKEN_REFRESH",
        () if has(&["login", "logon", "signin", "sessionstart", "authentication"]) => "LOGON",
        () => return None,
    })
}

/// What was not taken, as comments.
fn rest(survey: &Survey, chosen: &[Chosen<'_>], out: &mut String) {
    let taken = |path: &str| chosen.iter().any(|chosen| chosen.paths.iter().any(|(other, _)| *other == path));
    let secrets: Vec<&str> = survey.paths.keys().map(String::as_str).filter(|path| is_secret(path)).collect();
    if !secrets.is_empty() {
        let named = secrets.iter().take(8).copied().collect::<Vec<_>>().join(", ");
        let _ = write!(
            out,
            "\n# DECIDE: by their names these may carry secrets. If they do, set keep = \"event\" or\n\
             # secret_fields for the topic: {named}\n"
        );
    }
    let _ = write!(out, "\n# What else the records hold: path, how many of the records have it, samples.\n");
    for (path, seen) in survey.paths.iter().filter(|(path, _)| !taken(path)) {
        let part = seen.records * 100 / survey.records.max(1);
        let samples = seen.values.keys().take(SAMPLES).map(|value| {
            let cut: String = value.chars().take(SAMPLE).collect();
            format!("{cut:?}")
        });
        let samples = if is_secret(path) { "not shown".into() } else { samples.collect::<Vec<_>>().join(" ") };
        let _ = writeln!(out, "#   {}  {part} %  {samples}", path);
    }
    if survey.more {
        let _ = writeln!(out, "#   … and more");
    }
}

/// Whether a name speaks of something that lets in whoever has it, or of biometric material.
fn is_secret(path: &str) -> bool {
    let last = words(path.rsplit('.').next().unwrap_or(path));
    let secret = ["password", "passwd", "secret", "cookie", "token", "credential", "apikey", "privatekey", "saml"];
    !names::read(path.rsplit('.').next().unwrap_or(path)).is_clear()
        || (secret.iter().any(|word| last.contains(word)) && !last.ends_with("type") && !last.ends_with("id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::File;
    use serde_json::json;

    #[test]
    fn a_proposal_loads_and_names_what_must_be_decided() {
        let mut survey = Survey::default();
        for n in 0..20 {
            survey.add(&json!({
                "ts": 1_765_349_748_001_i64 + n, "who": {"name": format!("u{n}"), "ip": "203.0.113.7"},
                "what": if n % 2 == 0 { "login" } else { "tele\"port" }, "ok": n % 3 == 0, "session_token": "s3cret",
                "odd \"key\".x": "a\nb",
            }));
        }
        let text = propose(&survey, "My Gateway!");
        let file = File { path: "p.toml".into(), bytes: text.clone().into_bytes() };
        let about = super::super::super::check(&file).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(about.name, "my-gateway");
        for line in [
            "time = \"ts\"",
            "src_ip = \"who.ip\"",
            "user = \"who.name\"",
            "from = \"what\", table = \"activity\"",
            "from = \"ok\", table = \"outcome\"",
            "login = \"LOGON\"",
            "true = \"SUCCESS\"",
            "DECIDE",
            "not shown",
        ] {
            assert!(
                text.contains(line)
                    || text.contains(&line.replace("login =", "\"login\" =").replace("true =", "\"true\" =")),
                "{line}:\n{text}"
            );
        }
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[test]
    fn a_proposal_of_nothing_loads_or_says_what_is_missing() {
        let mut survey = Survey::default();
        survey.add(&json!({"x": 1}));
        let text = propose(&survey, "");
        assert!(text.contains("# DECIDE: nothing looks like time"), "{text}");
    }
}
