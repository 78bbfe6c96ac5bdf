//! YAML as plain values, for looking at what is shipped.

use granit_parser::{Event, Options, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// All documents of a text.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>, String> {
    let mut options = Options::default();
    options.emit_comments = false;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut found = Vec::new();
    while let Some(event) = next(&mut parser)? {
        match event {
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
            Event::StreamEnd => break,
            event => found.push(value(event, &mut parser)?),
        }
    }
    Ok(found)
}

type Events<'t> = Parser<'t, granit_parser::StrInput<'t>>;

fn next<'t>(parser: &mut Events<'t>) -> Result<Option<Event<'t>>, String> {
    let event = parser.next_event().transpose();
    Ok(event
        .map_err(|error| error.to_string())?
        .map(|(event, _)| event))
}

fn some<'t>(parser: &mut Events<'t>) -> Result<Event<'t>, String> {
    next(parser)?.ok_or_else(|| "it ends early".to_owned())
}

fn value<'t>(event: Event<'t>, parser: &mut Events<'t>) -> Result<Value, String> {
    match event {
        Event::Scalar(text, style, ..) => Ok(scalar(&text, style)),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match some(parser)? {
                    Event::SequenceEnd => return Ok(Value::Array(items)),
                    event => items.push(value(event, parser)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut fields = Map::new();
            loop {
                let name = match some(parser)? {
                    Event::MappingEnd => return Ok(Value::Object(fields)),
                    Event::Scalar(name, ..) => name.into_owned(),
                    other => return Err(format!("a key is {other:?}")),
                };
                let event = some(parser)?;
                let field = value(event, parser)?;
                if fields.insert(name.clone(), field).is_some() {
                    return Err(format!("{name} is there twice"));
                }
            }
        }
        other => Err(format!("{other:?} is not expected")),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return text.into();
    }
    match text {
        "" | "null" | "~" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        text => text
            .parse()
            .map_or_else(|_| text.into(), |number: i64| number.into()),
    }
}
