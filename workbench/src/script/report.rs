//! Results of scripts: cases, and the forms that other programs read (JUnit XML, TAP 14).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::syntax::Place;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub place: Place,
    /// The step, as it is written.
    pub step: Arc<str>,
    /// What is wrong.
    pub what: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What was there instead.
    pub got: Option<String>,
    /// The last command and its answer, in hexadecimal.
    pub exchange: Option<(String, String)>,
    /// Whether the script could not be carried out (reader or card failed, a value is missing), rather than an expectation failed.
    pub error: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.step, self.what)?;
        for (name, value) in [("expected", &self.expected), ("got", &self.got)] {
            if let Some(value) = value {
                write!(f, "\n  {name:9} {value}")?;
            }
        }
        if let Some((command, answer)) = &self.exchange {
            write!(f, "\n  last      {command}\n         -> {answer}")?;
        }
        Ok(())
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every expectation held.
    Passed,
    /// It was skipped, and why.
    Skipped(String),
    /// It was not as expected, or could not be carried out.
    Failed(Box<Failure>),
}

/// A test case: a `test` of a script, or a whole script without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The script.
    pub file: Arc<str>,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Steps that were carried out.
    pub steps: u64,
    /// How long it took.
    pub time: Duration,
    /// What `note` said.
    pub notes: Vec<String>,
}

/// All cases of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they ran.
    pub cases: Vec<Case>,
    /// Whether somebody stopped the run.
    pub stopped: bool,
}

impl Report {
    /// How many passed, were skipped, failed, could not be carried out.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for case in &self.cases {
            let place = match &case.outcome {
                Outcome::Passed => 0,
                Outcome::Skipped(_) => 1,
                Outcome::Failed(failure) => 2 + usize::from(failure.error),
            };
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }

    /// Steps that were carried out.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.cases.iter().map(|c| c.steps).sum()
    }

    /// The report as TAP version 14.
    #[must_use]
    pub fn tap(&self) -> String {
        let mut out = format!("TAP version 14\n1..{}\n", self.cases.len());
        for (n, case) in self.cases.iter().enumerate() {
            let name = tap_text(&format!("{}: {}", case.file, case.name));
            let number = n + 1;
            let _ = match &case.outcome {
                Outcome::Passed => writeln!(out, "ok {number} - {name}"),
                Outcome::Skipped(why) => writeln!(out, "ok {number} - {name} # SKIP {}", tap_text(why)),
                Outcome::Failed(failure) => {
                    let severity = if failure.error { "error" } else { "fail" };
                    let mut block = format!(
                        "not ok {number} - {name}\n  ---\n  message: {}\n  severity: {severity}\n",
                        yaml(&failure.what)
                    );
                    let _ = writeln!(
                        block,
                        "  at:\n    file: {}\n    line: {}",
                        yaml(&failure.place.file),
                        failure.place.line
                    );
                    let _ = writeln!(block, "  step: {}", yaml(&failure.step));
                    for (name, value) in [("expected", &failure.expected), ("got", &failure.got)] {
                        if let Some(value) = value {
                            let _ = writeln!(block, "  {name}: {}", yaml(value));
                        }
                    }
                    writeln!(out, "{block}  ...")
                }
            };
        }
        if self.stopped {
            out.push_str("Bail out! interrupted\n");
        }
        out
    }

    /// The report as JUnit XML: a suite for each script.
    #[must_use]
    pub fn junit(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let [_, skipped, failed, errors] = self.counts();
        let total: Duration = self.cases.iter().map(|c| c.time).sum();
        let _ = writeln!(
            out,
            "<testsuites name=\"tapdoor run\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.6}\">",
            self.cases.len(),
            total.as_secs_f64()
        );
        for suite in self.cases.chunk_by(|a, b| a.file == b.file) {
            let part = Self {
                cases: suite.to_vec(),
                stopped: false,
            };
            let [_, skipped, failed, errors] = part.counts();
            let time: Duration = suite.iter().map(|c| c.time).sum();
            let file = suite.first().map_or(String::new(), |c| xml(&c.file));
            let _ = writeln!(
                out,
                "  <testsuite name=\"{file}\" tests=\"{}\" failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.6}\">",
                suite.len(),
                time.as_secs_f64()
            );
            suite.iter().for_each(|case| junit_case(case, &mut out));
            out.push_str("  </testsuite>\n");
        }
        out.push_str("</testsuites>\n");
        out
    }
}

fn junit_case(case: &Case, out: &mut String) {
    let _ = write!(
        out,
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.6}\"",
        xml(&case.file),
        xml(&case.name),
        case.time.as_secs_f64()
    );
    if let Outcome::Failed(failure) = &case.outcome {
        let _ = write!(out, " file=\"{}\" line=\"{}\"", xml(&failure.place.file), failure.place.line);
    }
    out.push_str(">\n");
    match &case.outcome {
        Outcome::Passed => {}
        Outcome::Skipped(why) => {
            let _ = writeln!(out, "      <skipped message=\"{}\"/>", xml(why));
        }
        Outcome::Failed(failure) => {
            let tag = if failure.error { "error" } else { "failure" };
            let _ = writeln!(
                out,
                "      <{tag} message=\"{}\">{}</{tag}>",
                xml(&failure.what),
                xml(&failure.to_string())
            );
        }
    }
    if !case.notes.is_empty() {
        let _ = writeln!(out, "      <system-out>{}</system-out>", xml(&case.notes.join("\n")));
    }
    out.push_str("    </testcase>\n");
}

/// Text in XML: escaped, and without characters that XML 1.0 cannot have.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A description in TAP: in one line, `#` and `\` escaped.
fn tap_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '#' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A YAML scalar in double quotes: JSON's form is one.
fn yaml(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let place = Place {
            file: "a.door".into(),
            line: 7,
            column: 3,
        };
        let failure = Failure {
            place,
            step: "expect sw 9000".into(),
            what: "the status word is <6A82> & not 9000".into(),
            expected: Some("9000".into()),
            got: Some("6A82".into()),
            exchange: Some(("00a4".into(), "6a82".into())),
            error: false,
        };
        let case = |name: &str, outcome| Case {
            file: "a.door".into(),
            name: name.into(),
            outcome,
            steps: 2,
            time: Duration::from_millis(5),
            notes: vec!["\u{1}note".into()],
        };
        Report {
            cases: vec![
                case("good # one", Outcome::Passed),
                case("left out", Outcome::Skipped("no aliro".into())),
                case("bad", Outcome::Failed(Box::new(failure))),
            ],
            stopped: false,
        }
    }

    #[test]
    fn tap_14() {
        let tap = report().tap();
        assert!(
            tap.starts_with("TAP version 14\n1..3\nok 1 - a.door: good \\# one\nok 2 - a.door: left out # SKIP no aliro\nnot ok 3 - "),
            "{tap}"
        );
        assert!(tap.contains("    line: 7\n") && tap.contains("  got: \"6A82\"\n"));
    }

    #[test]
    fn junit_counts_and_escapes() {
        let xml = report().junit();
        assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("&lt;6A82&gt; &amp; not 9000") && !xml.contains('\u{1}'));
        assert_eq!(report().counts(), [1, 1, 1, 0]);
    }
}
