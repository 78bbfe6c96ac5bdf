//! Where in the user's files something stands, and what is wrong there.

use std::{fmt, sync::Arc};

/// A place in a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file as the user named it; `-` for standard input.
    pub file: Arc<str>,
    /// Line, from 1; 0 where only the file is known.
    pub line: u32,
    /// Column, from 1; 0 where only the line is known.
    pub column: u32,
    /// Path inside the document, as the API server writes it: `spec.ingress[0].from[1].ipBlock.cidr`.
    /// Empty for the document itself.
    pub path: String,
}

impl Place {
    /// A file, of which no more is to be said.
    pub const fn of_file(file: Arc<str>) -> Self {
        Self {
            file,
            line: 0,
            column: 0,
            path: String::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.file)?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
            if self.column > 0 {
                write!(out, ":{}", self.column)?;
            }
        }
        Ok(())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Valid, and probably not meant.
    Warning,
    /// The API server would reject it, or flowmon can't honour it: the policy is not in force.
    Error,
}

/// Something is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// A stable name of the kind of problem, in kebab case: `unknown-field`, `selects-no-pod`, …
    pub rule: &'static str,
    /// Where.
    pub place: Place,
    /// What is wrong and what to do about it, in one sentence or two. Untrusted text in it is
    /// escaped where it is printed.
    pub message: String,
}

impl Problem {
    /// Of a file that can't be used.
    pub const fn unreadable(place: Place, message: String) -> Self {
        Self {
            severity: Severity::Error,
            rule: "unreadable",
            place,
            message,
        }
    }
}
