//! Which trace a request belongs to (W3C Trace Context): that of the caller's header `traceparent`, or one that is drawn
//! here. Every answer names it, so that whoever asks about a refusal can say which request it was.

use std::fmt;
use std::str::FromStr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The flag that says that the caller records.
const SAMPLED: u8 = 1;

/// A span of a trace. Neither number is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceParent {
    pub(super) trace: u128,
    pub(super) span: u64,
    flags: u8,
}

/// A text is no `traceparent`: it is not looked at, as the specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<TraceParent, NoTraceParent> {
        let mut parts = text.split('-');
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let part = |part: Option<&str>, digits: usize| {
            let part = part.filter(|part| part.len() == digits && part.bytes().all(lower))?;
            u128::from_str_radix(part, 16).ok()
        };
        let read = (|| {
            let version = part(parts.next(), 2)?;
            let trace = part(parts.next(), 32)?;
            let span = part(parts.next(), 16)? as u64;
            let flags = part(parts.next(), 2)? as u8;
            // Later versions may say more behind this; version 255 is none.
            let whole = version != 0 || parts.next().is_none();
            (version != 255 && trace != 0 && span != 0 && whole).then_some(TraceParent { trace, span, flags })
        })();
        read.ok_or(NoTraceParent)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace,
            self.span,
            self.flags & SAMPLED
        )
    }
}

impl TraceParent {
    /// A span of its own for a request with these headers.
    fn of(headers: &HeaderMap) -> TraceParent {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let caller = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        let span = rand::random::<u64>().max(1);
        match caller {
            Some(TraceParent { trace, flags, .. }) => TraceParent { trace, span, flags },
            None => TraceParent {
                trace: rand::random::<u128>().max(1),
                span,
                flags: 0,
            },
        }
    }
}

/// Says in each answer which trace it belongs to; handlers find it among the extensions of the request.
pub(super) async fn traced(mut request: Request, next: Next) -> Response {
    let own = TraceParent::of(request.headers());
    request.extensions_mut().insert(own);
    let mut response = next.run(request).await;
    let value = HeaderValue::from_str(&own.to_string()).expect("digits and dashes");
    response.headers_mut().insert(TRACEPARENT, value);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_none_is_not_looked_at() {
        let read = |text: &str| text.parse::<TraceParent>();
        assert_eq!(read(GOOD).unwrap().to_string(), GOOD);
        assert!(read(&GOOD.replacen("00", "cc", 1)).is_ok());
        assert!(read(&(GOOD.replacen("00", "cc", 1) + "-more")).is_ok());
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &(GOOD.to_owned() + "-more"),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('4', "é"),
        ] {
            assert_eq!(read(bad), Err(NoTraceParent), "{bad:?}");
        }
    }

    #[test]
    fn a_request_is_a_span_of_its_caller_s_trace_or_of_one_that_is_drawn() {
        let mut headers = HeaderMap::new();
        let drawn = TraceParent::of(&headers);
        assert!(drawn.trace != 0 && drawn != TraceParent::of(&headers));
        headers.insert(TRACEPARENT, GOOD.parse().unwrap());
        let caller: TraceParent = GOOD.parse().unwrap();
        let own = TraceParent::of(&headers);
        assert_eq!((own.trace, own.flags), (caller.trace, SAMPLED));
        assert_ne!(own.span, caller.span);
        headers.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_ne!(TraceParent::of(&headers).trace, caller.trace, "two headers are none");
    }
}
