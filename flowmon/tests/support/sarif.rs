//! SARIF by its schema.

use boon::{Compiler, Schemas};
use serde_json::Value;

pub(crate) fn assert_is_sarif(document: &Value) {
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/schemas/sarif-2.1.0-rtm.5.json"
    );
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.enable_format_assertions();
    compiler
        .add_resource("memory:///sarif.json", schema)
        .unwrap();
    let schema = compiler
        .compile("memory:///sarif.json", &mut schemas)
        .unwrap();
    if let Err(error) = schemas.validate(document, schema) {
        panic!("{error:#}");
    }
}
