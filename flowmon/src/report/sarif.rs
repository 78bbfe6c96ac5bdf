//! SARIF 2.1.0 (OASIS, <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>): findings at places in files.

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;

/// What one run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Every rule that findings name, once.
    pub rules: Vec<Rule>,
    /// The findings.
    pub findings: Vec<Finding>,
}

/// A kind of finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// A stable name in kebab case.
    pub id: Cow<'static, str>,
    /// What it means, in a sentence.
    pub description: Cow<'static, str>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The kind, by its id.
    pub rule: Cow<'static, str>,
    /// How bad.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// What makes it the same finding in the next run; empty when its place and message do.
    pub identity: String,
    /// How often it was found, where that is counted.
    pub occurrences: Option<u64>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// Probably wrong.
    Warning,
    /// Wrong.
    Error,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1; 0 where only the file is known.
    pub line: u32,
    /// Column, from 1; 0 where only the line is known.
    pub column: u32,
}

impl Findings {
    /// The document.
    pub fn json(&self) -> String {
        let log = wire::Log::of(self);
        // These types have string keys and no serializer that fails.
        let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// A path as a URI reference (RFC 3986): all but unreserved characters and slashes are encoded.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri.push_str("file://");
    }
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _infallible = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The document's own form (names by SARIF 2.1.0, section 3).
mod wire {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::{Finding, Findings, Level, Place, Rule, uri};

    const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

    #[derive(Serialize)]
    pub(super) struct Log<'a> {
        #[serde(rename = "$schema")]
        schema: &'static str,
        version: &'static str,
        runs: [Run<'a>; 1],
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Run<'a> {
        tool: Tool<'a>,
        column_kind: &'static str,
        results: Vec<Found<'a>>,
    }

    #[derive(Serialize)]
    struct Tool<'a> {
        driver: Driver<'a>,
    }

    #[derive(Serialize)]
    struct Driver<'a> {
        name: &'static str,
        version: &'static str,
        rules: Vec<Descriptor<'a>>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Descriptor<'a> {
        id: &'a str,
        short_description: Text<'a>,
    }

    #[derive(Serialize)]
    struct Text<'a> {
        text: &'a str,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Found<'a> {
        rule_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        rule_index: Option<usize>,
        level: Level,
        message: Text<'a>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        locations: Vec<Location>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        partial_fingerprints: BTreeMap<&'static str, &'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        occurrence_count: Option<u64>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Location {
        physical_location: Physical,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Physical {
        artifact_location: Artifact,
        #[serde(skip_serializing_if = "Option::is_none")]
        region: Option<Region>,
    }

    #[derive(Serialize)]
    struct Artifact {
        uri: String,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Region {
        start_line: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        start_column: Option<u32>,
    }

    impl<'a> Log<'a> {
        pub(super) fn of(findings: &'a Findings) -> Self {
            let Findings { rules, findings } = findings;
            let results = findings.iter();
            Self {
                schema: SCHEMA,
                version: "2.1.0",
                runs: [Run {
                    tool: Tool {
                        driver: Driver {
                            name: "flowmon",
                            version: env!("CARGO_PKG_VERSION"),
                            rules: rules.iter().map(Descriptor::of).collect(),
                        },
                    },
                    column_kind: "unicodeCodePoints",
                    results: results.map(|found| Found::of(found, rules)).collect(),
                }],
            }
        }
    }

    impl<'a> Descriptor<'a> {
        fn of(rule: &'a Rule) -> Self {
            Self {
                id: &rule.id,
                short_description: Text {
                    text: &rule.description,
                },
            }
        }
    }

    impl<'a> Found<'a> {
        fn of(finding: &'a Finding, rules: &[Rule]) -> Self {
            let identity = Some(finding.identity.as_str()).filter(|identity| !identity.is_empty());
            Self {
                rule_id: &finding.rule,
                rule_index: rules.iter().position(|rule| rule.id == finding.rule),
                level: finding.level,
                message: Text {
                    text: &finding.message,
                },
                locations: finding.place.iter().map(Location::of).collect(),
                partial_fingerprints: identity
                    .map(|identity| ("flowmon/v1", identity))
                    .into_iter()
                    .collect(),
                occurrence_count: finding.occurrences,
            }
        }
    }

    impl Location {
        fn of(place: &Place) -> Self {
            Self {
                physical_location: Physical {
                    artifact_location: Artifact {
                        uri: uri(&place.file),
                    },
                    region: (place.line > 0).then(|| Region {
                        start_line: place.line,
                        start_column: (place.column > 0).then_some(place.column),
                    }),
                },
            }
        }
    }
}
