//! What an unquoted word of YAML is: a string, or something else.
//!
//! As the API server's clients read it (`sigs.k8s.io/yaml` by `goyaml.v2`, whose `resolve` this
//! follows): YAML 1.1's booleans and octal numbers, but no base 60.

use std::borrow::Cow;

use super::tree::Value;

/// The value of a plain scalar.
pub(super) fn resolve(text: Cow<'_, str>) -> Value<'_> {
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Value::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Value::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Value::Number(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Number(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Number(f64::NEG_INFINITY),
        other => number(other).unwrap_or(Value::Text(text)),
    }
}

/// What a key comes to: JSON knows strings only, so other scalars are spelled out.
pub(super) fn key(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    match resolve(text) {
        Value::Text(text) => Some(text),
        Value::Bool(value) => Some(value.to_string().into()),
        Value::Integer(value) => Some(value.to_string().into()),
        Value::Number(value) => Some(value.to_string().into()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

fn number(text: &str) -> Option<Value<'static>> {
    let first = text.bytes().next()?;
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return None;
    }
    if first == b'.' {
        return float(text);
    }
    let plain: Cow<'_, str> = if text.contains('_') {
        text.replace('_', "").into()
    } else {
        text.into()
    };
    integer(&plain).or_else(|| float(&plain))
}

/// Go's `ParseInt` with base 0.
fn integer(text: &str) -> Option<Value<'static>> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let prefixed = |letter: char| {
        let rest = digits.strip_prefix('0')?;
        rest.strip_prefix(letter)
            .or_else(|| rest.strip_prefix(letter.to_ascii_uppercase()))
    };
    let (base, digits) = if let Some(rest) = prefixed('x') {
        (16, rest)
    } else if let Some(rest) = prefixed('o') {
        (8, rest)
    } else if let Some(rest) = prefixed('b') {
        (2, rest)
    } else {
        match digits.strip_prefix('0') {
            Some(rest) if !rest.is_empty() => (8, rest),
            _ => (10, digits),
        }
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok();
    let value = value.map(|value| if negative { -value } else { value });
    Some(match value.and_then(|value| i64::try_from(value).ok()) {
        Some(value) => Value::Integer(value),
        // Too big for anything that policies know.
        None => Value::Number(f64::INFINITY),
    })
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; written as JSON, an integral one is an
/// integer.
fn float(text: &str) -> Option<Value<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_is_fine = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    if !mantissa_is_fine || !exponent_is_fine {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    if value.is_infinite() {
        return None;
    }
    // 2^53: beyond that not every integer is a float.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
        return Some(Value::Integer(value as i64));
    }
    Some(Value::Number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> Value<'_> {
        resolve(text.into())
    }

    #[test]
    fn words_that_are_no_strings() {
        for yes in ["y", "Yes", "true", "ON"] {
            assert_eq!(resolved(yes), Value::Bool(true), "{yes}");
        }
        for no in ["n", "NO", "False", "off"] {
            assert_eq!(resolved(no), Value::Bool(false), "{no}");
        }
        for null in ["", "~", "null", "NULL"] {
            assert_eq!(resolved(null), Value::Null, "{null}");
        }
        assert!(matches!(resolved(".inf"), Value::Number(_)));
    }

    #[test]
    fn numbers_as_go_reads_them() {
        for (text, value) in [
            ("80", 80),
            ("+80", 80),
            ("-1", -1),
            ("0", 0),
            ("0x50", 80),
            ("0X50", 80),
            ("0120", 80),
            ("0o120", 80),
            ("0b1010000", 80),
            ("8_0", 80),
            ("80.0", 80),
            ("8e1", 80),
            ("80.", 80),
            // No octal number, so a decimal fraction without a fraction.
            ("080", 80),
        ] {
            assert_eq!(resolved(text), Value::Integer(value), "{text}");
        }
        for text in ["0.5", ".5", "1e300", "99999999999999999999"] {
            assert!(matches!(resolved(text), Value::Number(_)), "{text}");
        }
    }

    #[test]
    fn all_else_is_text() {
        for text in [
            "yep",
            "tRue",
            "nULL",
            "v1",
            "10.0.0.0/8",
            "1.2.3",
            "2001-12-14",
            "12:30:45",
            "0xg",
            "-",
            "+",
            ".",
            "1e",
            "0x",
            "1e999",
            "fd00::/8",
            "٣",
            "_1",
            "-a",
            "80-90",
        ] {
            assert_eq!(resolved(text), Value::Text(text.into()), "{text}");
        }
    }

    #[test]
    fn keys_are_strings() {
        for (text, want) in [
            ("app", "app"),
            ("0x10", "16"),
            ("yes", "true"),
            ("1.5", "1.5"),
        ] {
            assert_eq!(key(text.into()).as_deref(), Some(want));
        }
        assert_eq!(key("~".into()), None);
    }
}
