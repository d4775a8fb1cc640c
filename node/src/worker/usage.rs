//! What a result says that its work has used.
//!
//! | where | counts as |
//! |---|---|
//! | `usage.tokens_in`, else `usage.prompt_tokens`, else `usage.input_tokens` with its `cache_creation_input_tokens` and `cache_read_input_tokens` | tokens in |
//! | `usage.tokens_out`, else `usage.completion_tokens`, else `usage.output_tokens` | tokens out |
//! | `usage.cost_micros`, else `total_cost_usd` beside `usage` | cost |
//!
//! The other names are those of the answers of models and of programs around them, so that these may be passed on as they
//! are. What is no whole number up to [`USAGE_MAX`] says nothing; a cost in `total_cost_usd` is rounded to a millionth.

use queenright_protocol::colony::{Spent, USAGE_MAX};
use serde_json::Value;

/// What a result says: `{"usage": {"tokens_in": 1200, "tokens_out": 300, "cost_micros": 30000}, …}`.
pub(super) fn spent(result: &Value) -> Option<Spent> {
    let number = |field: &str| result["usage"][field].as_u64().filter(|number| *number <= USAGE_MAX);
    let cached = || {
        let parts = ["cache_creation_input_tokens", "cache_read_input_tokens"].map(number);
        parts.into_iter().flatten().sum::<u64>()
    };
    let read = || number("input_tokens").map(|tokens| (tokens + cached()).min(USAGE_MAX));
    let tokens_in = number("tokens_in").or_else(|| number("prompt_tokens")).or_else(read);
    let tokens_out = ["tokens_out", "completion_tokens", "output_tokens"]
        .into_iter()
        .find_map(number);
    let cost_micros = number("cost_micros").or_else(|| micros(result["total_cost_usd"].as_f64()?));
    let spent = Spent {
        tokens_in: tokens_in.unwrap_or_default(),
        tokens_out: tokens_out.unwrap_or_default(),
        cost_micros: cost_micros.unwrap_or_default(),
    };
    (spent != Spent::default()).then_some(spent)
}

fn micros(amount: f64) -> Option<u64> {
    let micros = (amount * 1e6).round();
    (micros >= 0.0 && micros <= USAGE_MAX as f64).then_some(micros as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_may_say_what_was_used() {
        let check = |result: Value, (tokens_in, tokens_out, cost_micros): (u64, u64, u64)| {
            let expected = Spent {
                tokens_in,
                tokens_out,
                cost_micros,
            };
            assert_eq!(spent(&result).unwrap_or_default(), expected, "{result}");
        };
        check(
            json!({"usage": {"tokens_in": 7, "tokens_out": 2, "cost_micros": 9, "model": "m"}, "answer": 42}),
            (7, 2, 9),
        );
        check(
            json!({"usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}}),
            (5, 3, 0),
        );
        let usage = json!({"input_tokens": 4, "cache_read_input_tokens": 100, "output_tokens": 6});
        check(json!({"usage": usage, "total_cost_usd": 0.1234567}), (104, 6, 123_457));
        check(
            json!({"usage": {"tokens_in": -1, "tokens_out": USAGE_MAX + 1}}),
            (0, 0, 0),
        );
        check(json!({"total_cost_usd": -3}), (0, 0, 0));
        for other in [json!(null), json!("text"), json!([1]), json!({}), json!({"usage": 5})] {
            assert_eq!(spent(&other), None, "{other}");
        }
    }
}
