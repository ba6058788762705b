//! Writes a rule, its test and its lists.

use super::{
    correlation::seconds,
    example::{self, Varied},
    expr::{Expr, Target, quoted},
    meta::Meta,
};
use crate::{artifact::File, event::AuthEvent};
use std::fmt::Write;

/// A rule that was translated.
pub(super) struct Draft {
    /// What it selects.
    pub when: Expr,
    /// Whom it counts.
    pub key: Vec<Target>,
    /// What opens its window; `None`: every selected event is a finding.
    pub gate: Option<Gate>,
    /// What its test does.
    pub plan: Plan,
}

impl Draft {
    /// The length of its window.
    pub fn window(&self) -> &str {
        self.gate.as_ref().map_or("", |gate| &gate.window)
    }
}

/// A window and its bounds.
pub(super) struct Gate {
    /// `15m`
    pub window: String,
    /// What is counted is called so.
    pub name: String,
    /// `count()`
    pub measure: String,
    /// At least.
    pub least: u64,
    /// At most.
    pub most: Option<u64>,
}

/// What the test of a rule does.
pub(super) enum Plan {
    /// One event that is found, and one that is not, with what is different in it.
    Single { event: Box<AuthEvent>, miss: Option<Box<(AuthEvent, String)>> },
    /// Many of one event, perhaps with a field that is different each time.
    Counted { event: Box<AuthEvent>, varied: Option<(Target, Varied)>, miss: Option<Box<(AuthEvent, String)>> },
    /// Each of these events.
    Each(Vec<AuthEvent>),
}

/// What a rule's file is about.
pub(super) struct About<'a> {
    /// Title, id, severity …
    pub meta: &'a Meta,
    /// The name of the rule's file, without its ending.
    pub stem: &'a str,
    /// The Sigma file's name and line.
    pub origin: &'a str,
    /// In what it differs from the Sigma rule.
    pub differs: &'a [String],
}

/// The rule, its test, and its lists.
pub(super) fn files(about: &About<'_>, draft: &Draft) -> Vec<File> {
    let file = |path: String, text: String| File { path, bytes: text.into_bytes() };
    let mut files = vec![
        file(format!("{}.rhai", about.stem), rule(about, draft)),
        file(format!("{}.test.rhai", about.stem), test(about, draft)),
    ];
    for (name, nets) in draft.when.lists() {
        let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
        let text = format!(
            "# owner: nobody yet (imported with the rule {})\n# expires: never\n{}\n",
            about.meta.rule,
            nets.join("\n")
        );
        files.push(file(format!("lists/{name}.txt"), text));
    }
    files
}

/// Writes a comment, in lines that can be read.
fn comment(out: &mut String, text: &str) {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() > 110 {
            // writing to a string cannot fail
            let _ = writeln!(out, "// {line}");
            line = "  ".into();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "// {line}");
}

fn rule(about: &About<'_>, draft: &Draft) -> String {
    let meta = about.meta;
    let mut out = String::new();
    comment(&mut out, &meta.description);
    out.push_str("//\n");
    comment(&mut out, &format!("Made from the Sigma rule in {} by `authseal rules import`.", about.origin));
    for line in &meta.head {
        comment(&mut out, line);
    }
    let counted = if let Plan::Counted { varied: Some((target, _)), .. } = &draft.plan { Some(target) } else { None };
    let mut relies: Vec<String> = Vec::new();
    for name in draft.when.targets().iter().chain(&draft.key).chain(counted).map(Target::written) {
        if !relies.contains(&name) {
            relies.push(name);
        }
    }
    comment(&mut out, &format!("Relies on: {}.", relies.join(", ")));
    if !about.differs.is_empty() {
        out.push_str("//\n// It differs from the Sigma rule:\n");
        for difference in about.differs {
            comment(&mut out, &format!("- {difference}"));
        }
    }
    let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "rule({}, #{{", quoted(&meta.rule));
    let _ = writeln!(out, "    name:     {},", quoted(&meta.title));
    let _ = writeln!(out, "    severity: {},", meta.severity.name());
    out.push_str("    status:   \"experimental\",\n    mode:     \"shadow\",\n");
    if !meta.attack.is_empty() {
        let _ = writeln!(out, "    attack:   [{}],", list(&meta.attack));
    }
    if !meta.falsepos.is_empty() {
        let _ = writeln!(out, "    falsepos: [{}],", list(&meta.falsepos));
    }
    let key: Vec<String> = draft.key.iter().map(Target::written).collect();
    let _ = writeln!(out, "\n    when:     {},", draft.when.lines(14));
    let _ = writeln!(out, "    key:      [{}],", key.join(", "));
    if let Some(gate) = &draft.gate {
        let _ = writeln!(out, "    window:   \"{}\",", gate.window);
        let _ = writeln!(out, "    agg:      #{{ {}: {} }},", gate.name, gate.measure);
        let _ = writeln!(out, "    at_least: #{{ {}: {} }},", gate.name, gate.least);
        if gate.most.is_some() {
            let _ = writeln!(out, "    settle:   \"{}\",", gate.window);
        }
        let _ = writeln!(out, "    dedup:    \"{}\",", gate.window);
    }
    out.push_str("});\n");
    if let Some((gate, most)) = draft.gate.as_ref().and_then(|gate| gate.most.map(|most| (gate, most))) {
        let _ = writeln!(out, "\nfn decide(e, w) {{ w.{} <= {most} }}", gate.name);
    }
    out
}

/// The test file: when the rule fires, and when it stays quiet.
fn test(about: &About<'_>, draft: &Draft) -> String {
    let mut out = String::new();
    let alerts = |count: u8| match count {
        0 => "alerts: 0".to_owned(),
        _ => format!("alerts: {count}, severity: {}", about.meta.severity.name()),
    };
    let case = |out: &mut String, name: &str, body: &[String], count: u8| {
        let _ = writeln!(out, "\ntest({}, || {{\n    let t = timeline({});", quoted(name), quoted(about.stem));
        for line in body {
            let _ = writeln!(out, "    {line}");
        }
        let _ = writeln!(out, "    t.expect(#{{ {} }});\n}});", alerts(count));
    };
    let once = |function: &str| vec![format!("t.at(0, {function});")];
    match &draft.plan {
        Plan::Single { event, miss } => {
            function(&mut out, "selected()", event, None);
            case(&mut out, "an event that the Sigma rule selects", &once("selected()"), 1);
            if let Some(miss) = miss {
                function(&mut out, "other()", &miss.0, None);
                case(&mut out, &format!("the same with {}", miss.1), &once("other()"), 0);
            }
        }
        Plan::Counted { event, varied, miss } => {
            let Some(gate) = &draft.gate else { return out };
            let parameter = if varied.is_some() { "selected(v)" } else { "selected()" };
            function(&mut out, parameter, event, varied.as_ref().map(|(target, _)| target));
            let what = if varied.is_some() { "different values" } else { "events" };
            let many = |count: u64| many(count, gate, varied.as_ref().map(|(_, varied)| varied));
            let within = |count: u64| format!("{count} {what} within {}", gate.window);
            case(&mut out, &within(gate.least), &many(gate.least), 1);
            if gate.least > 1 {
                case(&mut out, &within(gate.least - 1), &many(gate.least - 1), 0);
            } else if let Some(miss) = miss {
                function(&mut out, "other()", &miss.0, None);
                case(&mut out, &format!("an event with {}", miss.1), &once("other()"), 0);
            }
            if let Some(most) = gate.most {
                case(&mut out, &within(most + 1), &many(most + 1), 0);
            }
        }
        Plan::Each(events) => {
            let mut calls = Vec::new();
            for (i, event) in events.iter().enumerate() {
                function(&mut out, &format!("event_{i}()"), event, None);
                calls.push(format!("t.at({i}, event_{i}());"));
            }
            case(&mut out, "all of them", &calls, 1);
            calls.reverse();
            // in the other order, all but one
            calls.pop();
            case(&mut out, "all but one of them", &calls, 0);
        }
    }
    out
}

fn function(out: &mut String, head: &str, event: &AuthEvent, varied: Option<&Target>) {
    let gap = if out.is_empty() { "" } else { "\n" };
    let fields = example::written(event, varied);
    let line = format!("event(#{{ {} }})", fields.join(", "));
    let body = if line.chars().count() <= 110 {
        format!("    {line}")
    } else {
        format!("    event(#{{\n        {},\n    }})", fields.join(",\n        "))
    };
    let _ = writeln!(out, "{gap}fn {head} {{\n{body}\n}}");
}

/// So many events within half of the window.
fn many(count: u64, gate: &Gate, varied: Option<&Varied>) -> Vec<String> {
    let half = seconds(&gate.window).unwrap_or(60) as f64 / 2.0;
    let step = (half / count.max(1) as f64 * 1000.0).floor() / 1000.0;
    // a step of whole seconds is easier to read
    let step = if step >= 1.0 { format!("{}", step.floor()) } else { format!("{step:?}") };
    match varied {
        None => vec![format!("for i in 0..{count} {{ t.at(i * {step}, selected()); }}")],
        Some(Varied::Template(text)) => vec![format!("for i in 0..{count} {{ t.at(i * {step}, selected({text})); }}")],
        Some(Varied::Values(values)) => {
            let few: Vec<&str> = values.iter().map(String::as_str).take(usize::try_from(count).unwrap_or(0)).collect();
            vec![
                format!("let values = [{}];", few.join(", ")),
                format!("for i in 0..{count} {{ t.at(i * {step}, selected(values[i])); }}"),
            ]
        }
    }
}
