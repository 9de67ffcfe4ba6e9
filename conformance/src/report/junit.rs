//! JUnit XML, as CI systems read it: a `testsuite` per suite and target, a
//! `testcase` per case.

use crate::{
    case::{Judged, Outcome},
    report::Summary,
};

/// The run as JUnit XML.
#[must_use]
pub fn junit(judged: &[Judged]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut rest = judged;
    while let Some(first) = rest.first() {
        let same = |case: &Judged| case.suite == first.suite && case.target == first.target;
        let length = rest.iter().take_while(|case| same(case)).count();
        let (suite, after) = rest.split_at(length);
        rest = after;
        let sum = Summary::of(suite);
        let seconds: f64 = suite.iter().map(|case| case.ms).sum::<f64>() / 1000.0;
        xml.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">\n",
            escape(&format!("{} ({})", first.suite, first.target)),
            suite.len(),
            sum.failed,
            sum.skipped,
        ));
        suite.iter().for_each(|case| push_case(&mut xml, case));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn push_case(xml: &mut String, case: &Judged) {
    xml.push_str(&format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escape(case.suite),
        escape(&case.name),
        case.ms / 1000.0
    ));
    match &case.outcome {
        Outcome::Passed => xml.push_str("/>\n"),
        Outcome::Failed(why) => xml.push_str(&format!(
            ">\n      <failure message=\"{}\">truth: {}</failure>\n    </testcase>\n",
            escape(why),
            escape(case.truth)
        )),
        Outcome::Skipped(why) => xml.push_str(&format!(
            ">\n      <skipped message=\"{}\"/>\n    </testcase>\n",
            escape(why)
        )),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            // Other control characters may not stand in XML 1.0 at all.
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(suite: &'static str, outcome: Outcome) -> Judged {
        Judged {
            suite,
            target: "t".into(),
            name: "a <b>".into(),
            truth: "x",
            outcome,
            ms: 2.0,
        }
    }

    #[test]
    fn suites_are_grouped_and_texts_are_escaped() {
        let xml = junit(&[
            case("nsm", Outcome::Passed),
            case("nsm", Outcome::Failed("\"1\" & \u{1b}".into())),
            case("flow", Outcome::Skipped("no tool".into())),
        ]);
        assert_eq!(xml.matches("<testsuite ").count(), 2);
        assert!(
            xml.contains("tests=\"2\" failures=\"1\" skipped=\"0\""),
            "{xml}"
        );
        assert!(xml.contains("&quot;1&quot; &amp; \u{fffd}"), "{xml}");
        assert!(xml.contains("a &lt;b&gt;"), "{xml}");
        assert!(!xml.contains('\u{1b}'));
    }
}
