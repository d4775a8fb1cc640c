//! Which requests are followed.

use queenright_actors::trace::{SpanId, TraceId, TraceParent};

/// Draws some of the requests that nobody has decided about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampler {
    ratio: f64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The trace that it belongs to: its caller's, or its own.
    pub trace: TraceId,
    /// Its own span.
    pub span: SpanId,
    /// Its caller's span.
    pub parent: Option<SpanId>,
    /// Whether it is followed; if not it is kept only when it ends with an error of this node.
    pub followed: bool,
}

impl Sampler {
    /// Follows this part of the requests, from 0 to 1.
    pub fn new(ratio: f64) -> Sampler {
        Sampler { ratio }
    }

    /// Decides about a request, by what its caller says if it says anything: a caller that follows its own part has this one
    /// followed, one that does not, not.
    pub fn decide(&self, caller: Option<TraceParent>) -> Decision {
        let span = SpanId::draw();
        match caller {
            Some(caller) => Decision {
                trace: caller.trace,
                span,
                parent: Some(caller.span),
                followed: caller.sampled,
            },
            None => Decision {
                trace: TraceId::draw(),
                span,
                parent: None,
                followed: rand::random::<f64>() < self.ratio,
            },
        }
    }
}

impl Decision {
    /// What the caller is told of it.
    pub fn told(&self) -> TraceParent {
        TraceParent {
            trace: self.trace,
            span: self.span,
            sampled: self.followed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_decide_and_else_the_ratio() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let caller = TraceParent::parse(header).unwrap();
        let followed = Sampler::new(0.0).decide(Some(caller));
        assert_eq!((followed.trace, followed.parent), (caller.trace, Some(caller.span)));
        assert!(followed.followed && followed.span != caller.span);
        assert_eq!(followed.told().trace, caller.trace);
        let not = TraceParent {
            sampled: false,
            ..caller
        };
        assert!(!Sampler::new(1.0).decide(Some(not)).followed);
        let count = |ratio: f64| {
            let sampler = Sampler::new(ratio);
            (0..2_000).filter(|_| sampler.decide(None).followed).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 2_000));
        // Thirteen deviations around the mean of 200.
        let some = count(0.1);
        assert!((20..380).contains(&some), "{some}");
    }
}
