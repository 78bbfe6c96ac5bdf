//! JSON (RFC 8259) into a tree. YAML's parser would take most of it, but not all: escaped
//! surrogates, long keys, tabs.

use std::borrow::Cow;

use super::{
    lines::column,
    tree::{DEEPEST, Entry, Fault, MOST_NODES, Node, Value},
};

/// Reads values that follow one another, as `kubectl` and `jq` write them, the first at this line.
///
/// # Errors
/// What is no JSON, with its place; more nodes or depth than allowed.
pub(super) fn parse(text: &str, line: u32) -> Result<Vec<Node<'_>>, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        line,
        line_start: 0,
        nodes: 0,
    };
    let mut found = Vec::new();
    reader.space();
    while reader.at < text.len() {
        found.push(reader.value(0)?);
        reader.space();
    }
    Ok(found)
}

struct Reader<'t> {
    text: &'t str,
    /// Byte that is read next.
    at: usize,
    line: u32,
    /// Where this line begins.
    line_start: usize,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n')) = self.peek() {
            self.at += 1;
            if byte == b'\n' {
                self.line = self.line.saturating_add(1);
                self.line_start = self.at;
            }
        }
    }

    /// Line and column of the byte that is read next.
    fn here(&self) -> (u32, u32) {
        let before = self.text.get(self.line_start..self.at).unwrap_or_default();
        (self.line, column(before))
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        let (line, column) = self.here();
        Fault {
            line,
            column,
            message: message.into(),
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        self.space();
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.fault(format!("expected `{}`", char::from(byte))))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'t>, Fault> {
        self.space();
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(self.fault("the document is too big: split it"));
        }
        if depth > DEEPEST {
            return Err(self.fault("lists and objects are nested too deeply"));
        }
        let (line, column) = self.here();
        let value = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node {
            value,
            line,
            column,
        })
    }

    fn map(&mut self, depth: usize) -> Result<Value<'t>, Fault> {
        self.expect(b'{')?;
        let mut entries = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(entries.into()));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            self.nodes += 1;
            let (line, column) = self.here();
            let key = self.string()?;
            self.expect(b':')?;
            let value = self.value(depth + 1)?;
            entries.push(Entry {
                key,
                line,
                column,
                value,
            });
            if !self.goes_on(b'}')? {
                return Ok(Value::Map(entries.into()));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'t>, Fault> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(items.into()));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if !self.goes_on(b']')? {
                return Ok(Value::List(items.into()));
            }
        }
    }

    /// After an item: a comma, or the end.
    fn goes_on(&mut self, end: u8) -> Result<bool, Fault> {
        self.space();
        let found = self.peek();
        if found == Some(b',') || found == Some(end) {
            self.at += 1;
            return Ok(found == Some(b','));
        }
        Err(self.fault(format!("expected `,` or `{}`", char::from(end))))
    }

    fn word(&mut self) -> Result<Value<'t>, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        for (word, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fault("expected a value"))
    }

    fn number(&mut self) -> Result<Value<'t>, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let end = rest.find(|char: char| !matches!(char, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let number = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let digits = number.strip_prefix('-').unwrap_or(number);
        let leading_zero = digits.len() > 1
            && digits.starts_with('0')
            && !digits.starts_with("0.")
            && !digits.starts_with("0e")
            && !digits.starts_with("0E");
        let value = if leading_zero || digits.starts_with(['.', '+']) || digits.ends_with('.') {
            None
        } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let integer = number.parse().map(Value::Integer);
            integer
                .ok()
                .or_else(|| number.parse().ok().map(Value::Number))
        } else {
            number.parse().ok().map(Value::Number)
        };
        let value = value.ok_or_else(|| self.fault("this is no number"))?;
        self.at += number.len();
        Ok(value)
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Fault> {
        self.at += 1;
        let mut owned: Option<String> = None;
        let mut start = self.at;
        loop {
            match self.peek() {
                None => return Err(self.fault("the string does not end")),
                Some(b'"') => {
                    let last = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(match owned {
                        None => Cow::Borrowed(last),
                        Some(text) => Cow::Owned(text + last),
                    });
                }
                Some(b'\\') => {
                    let before = self.text.get(start..self.at).unwrap_or_default();
                    let text = owned.get_or_insert_default();
                    text.push_str(before);
                    let char = self.escape()?;
                    owned.get_or_insert_default().push(char);
                    start = self.at;
                }
                Some(..0x20) => return Err(self.fault("a control character must be escaped")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// At a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let char = match self.text.as_bytes().get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 2;
                return self.unicode();
            }
            _ => return Err(self.fault("unknown escape")),
        };
        self.at += 2;
        Ok(char)
    }

    /// After `\u`. Half a surrogate pair becomes U+FFFD, as Go has it.
    fn unicode(&mut self) -> Result<char, Fault> {
        let first = self.hex()?;
        if (0xd800..0xdc00).contains(&first) {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with("\\u") {
                let before = self.at;
                self.at += 2;
                let second = self.hex()?;
                if (0xdc00..0xe000).contains(&second) {
                    let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                    return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                self.at = before;
            }
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
        let all = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u32::from_str_radix(digits, 16).ok().filter(|_| all);
        let value = value.ok_or_else(|| self.fault("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(value)
    }
}
