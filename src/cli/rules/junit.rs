//! JUnit XML of test reports, as CI servers read it: a suite for each file, a case for each test.

use crate::detect::testing::TestReport;
use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

/// The reports as XML. `shown` makes paths as seen from here.
pub(super) fn xml(reports: &[TestReport], seconds: f64, shown: impl Fn(&str) -> String) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // writing to a string cannot fail
    let _ = write(&mut text, reports, seconds, &shown);
    text
}

fn write(
    out: &mut String,
    reports: &[TestReport],
    seconds: f64,
    shown: &dyn Fn(&str) -> String,
) -> Result<(), fmt::Error> {
    let mut suites: BTreeMap<&str, Vec<&TestReport>> = BTreeMap::new();
    for report in reports {
        suites.entry(&report.path).or_default().push(report);
    }
    let failed = |reports: &mut dyn Iterator<Item = &TestReport>| reports.filter(|report| !report.passed()).count();
    let (tests, failures) = (reports.len(), failed(&mut reports.iter()));
    writeln!(
        out,
        "<testsuites name=\"authseal rules test\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         time=\"{seconds:.3}\">"
    )?;
    for (path, cases) in suites {
        let path = escaped(&shown(path));
        let (tests, failures) = (cases.len(), failed(&mut cases.iter().copied()));
        writeln!(
            out,
            "  <testsuite name=\"{path}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">"
        )?;
        for case in cases {
            let name = escaped(&case.name);
            write!(out, "    <testcase classname=\"{path}\" name=\"{name}\" file=\"{path}\" line=\"{}\"", case.line)?;
            if case.passed() {
                writeln!(out, "/>")?;
                continue;
            }
            writeln!(out, ">")?;
            // several failures of one case: readers take the first element alone
            let message = case.failures.first().map_or("", |problem| problem.message.as_str());
            let lines = case.failures.iter().map(|problem| {
                let path = shown(&problem.path);
                crate::detect::Problem { path, ..problem.clone() }.to_string()
            });
            let lines: Vec<String> = lines.collect();
            writeln!(out, "      <failure message=\"{}\">{}</failure>", escaped(message), escaped(&lines.join("\n")))?;
            writeln!(out, "    </testcase>")?;
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// Text that may stand in XML 1.0: names of tests may hold anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Problem;

    #[test]
    fn cases_are_grouped_by_file_and_every_text_is_escaped() {
        let report = |path: &str, name: &str, failures: Vec<Problem>| TestReport {
            path: path.into(),
            line: 7,
            name: name.into(),
            firing: Vec::new(),
            quiet: Vec::new(),
            failures,
        };
        let problem = |message: &str| Problem { path: "b.test.rhai".into(), at: Some((9, 3)), message: message.into() };
        let reports = [
            report("b.test.rhai", "<a> & \"b\"\u{1}", vec![problem("got 1 < 2"), problem("and\nmore")]),
            report("a.test.rhai", "good", Vec::new()),
        ];
        let text = xml(&reports, 0.25, |path| format!("rules/{path}"));
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
            <testsuites name=\"authseal rules test\" tests=\"2\" failures=\"1\" errors=\"0\" time=\"0.250\">\n  \
              <testsuite name=\"rules/a.test.rhai\" tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"0\">\n    \
                <testcase classname=\"rules/a.test.rhai\" name=\"good\" file=\"rules/a.test.rhai\" line=\"7\"/>\n  \
              </testsuite>\n  \
              <testsuite name=\"rules/b.test.rhai\" tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\">\n    \
                <testcase classname=\"rules/b.test.rhai\" name=\"&lt;a&gt; &amp; &quot;b&quot;\u{fffd}\" \
                 file=\"rules/b.test.rhai\" line=\"7\">\n      \
                  <failure message=\"got 1 &lt; 2\">rules/b.test.rhai:9:3: got 1 &lt; 2&#10;\
                   rules/b.test.rhai:9:3: and&#10;more</failure>\n    \
                </testcase>\n  \
              </testsuite>\n\
            </testsuites>\n";
        assert_eq!(text, expected);
    }
}
