//! `LabelSelector`.

use std::sync::Arc;

use super::{
    metadata::check,
    syntax,
    walk::{Cursor, Findings},
};
use crate::policy::{
    Selector,
    labels::{Operator, Requirement},
};

const RULE: &str = "invalid-selector";

/// Reads a selector; requirements that are wrong are reported and left out.
pub(super) fn read(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Selector {
    let mut fields = at.fields(findings);
    let mut requirements = Vec::new();
    if let Some(labels) = fields.get("matchLabels") {
        for (key, value) in labels.fields(findings).all() {
            check(&labels, syntax::label_key(key), RULE, key, findings);
            let Some(text) = value.text(findings) else {
                continue;
            };
            check(&value, syntax::label_value(text), RULE, text, findings);
            requirements.push(Requirement {
                key: key.into(),
                operator: Operator::In(vec![text.into()]),
            });
        }
    }
    if let Some(expressions) = fields.get("matchExpressions") {
        for expression in expressions.list(findings) {
            requirements.extend(read_expression(&expression, findings));
        }
    }
    fields.end(findings);
    Selector { requirements }
}

fn read_expression(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<Requirement> {
    let mut fields = at.fields(findings);
    let key = fields.require("key", findings);
    let operator = fields.require("operator", findings);
    let list = fields.get("values");
    fields.end(findings);

    let mut values: Vec<Arc<str>> = Vec::new();
    for value in list
        .iter()
        .flat_map(|list| list.list(findings))
        .collect::<Vec<_>>()
    {
        let text = value.text(findings)?;
        check(&value, syntax::label_value(text), RULE, text, findings);
        values.push(text.into());
    }
    let key = key?;
    let key_text = key.text(findings)?;
    check(&key, syntax::label_key(key_text), RULE, key_text, findings);
    let operator = operator?;
    let (operator, takes_values) = match operator.text(findings)? {
        "In" => (Operator::In(values), true),
        "NotIn" => (Operator::NotIn(values), true),
        "Exists" => (Operator::Exists, false),
        "DoesNotExist" => (Operator::DoesNotExist, false),
        _ => {
            let says = "the operators are In, NotIn, Exists and DoesNotExist";
            findings.error(&operator, RULE, says);
            return None;
        }
    };
    let has_values = list.is_some_and(|list| !list.node.items().is_empty());
    if takes_values && !has_values {
        findings.error(at, RULE, "In and NotIn need `values`");
    } else if !takes_values && has_values {
        findings.error(at, RULE, "Exists and DoesNotExist take no `values`");
    }
    Some(Requirement {
        key: key_text.into(),
        operator,
    })
}
