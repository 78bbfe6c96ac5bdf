//! `JUnit` XML, as Jenkins' `junit-10.xsd` has it and CI systems read it.

use std::fmt::{self, Write as _};

/// Cases that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// What they are about.
    pub name: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One expectation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// What kind of thing it is about, in words joined by dots.
    pub class: String,
    /// What it is about; with the class, no other case's.
    pub name: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What else there is to say.
    pub output: String,
}

/// What became of an expectation. Messages are one line, details may be many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was met.
    Passed,
    /// It was not.
    Failed {
        /// In short.
        message: String,
        /// At length.
        detail: String,
    },
    /// Nobody can tell whether it was, and somebody must look.
    Broken {
        /// In short.
        message: String,
        /// At length.
        detail: String,
    },
    /// Nobody can tell whether it was, or nobody tried.
    Skipped {
        /// Why.
        message: String,
    },
}

impl Suite {
    /// The document.
    pub fn xml(&self) -> String {
        let count = |which: fn(&Verdict) -> bool| {
            let verdicts = self.cases.iter().map(|case| &case.verdict);
            verdicts.filter(|verdict| which(verdict)).count()
        };
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            self.cases.len(),
            count(|verdict| matches!(verdict, Verdict::Failed { .. })),
            count(|verdict| matches!(verdict, Verdict::Broken { .. })),
        );
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
        let name = Escaped(&self.name);
        let _infallible = writeln!(
            xml,
            "<testsuites name=\"{name}\" {counts}>\n  <testsuite name=\"{name}\" {counts} skipped=\"{skipped}\">"
        );
        for case in &self.cases {
            case.write(&mut xml);
        }
        xml + "  </testsuite>\n</testsuites>\n"
    }
}

impl Case {
    fn write(&self, xml: &mut String) {
        let (class, name) = (Escaped(&self.class), Escaped(&self.name));
        let mut inside = match &self.verdict {
            Verdict::Passed => String::new(),
            Verdict::Failed { message, detail } => told("failure", message, detail),
            Verdict::Broken { message, detail } => told("error", message, detail),
            Verdict::Skipped { message } => {
                format!("      <skipped message=\"{}\"/>\n", Escaped(message))
            }
        };
        if !self.output.is_empty() {
            let output = Escaped(&self.output);
            let _infallible = writeln!(inside, "      <system-out>{output}</system-out>");
        }
        let _infallible = writeln!(
            xml,
            "    <testcase classname=\"{class}\" name=\"{name}\">\n{inside}    </testcase>"
        );
    }
}

fn told(element: &str, message: &str, detail: &str) -> String {
    let (message, detail) = (Escaped(message), Escaped(detail));
    format!("      <{element} message=\"{message}\">{detail}</{element}>\n")
}

/// Text in XML: marked up, and free of what XML 1.0 (2.2) has no way to say.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\n' => out.write_str("&#10;")?,
                '\u{fffe}' | '\u{ffff}' => write!(out, "{}", char.escape_default())?,
                _ if char.is_control() => write!(out, "{}", char.escape_default())?,
                _ => out.write_char(char)?,
            }
        }
        Ok(())
    }
}
