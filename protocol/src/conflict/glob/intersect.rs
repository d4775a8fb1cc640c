//! Both patterns at once: a pair of places is reached if some beginning of a path leads both there. From one pair to the
//! next at least one place grows, so each pair is looked at once, row by row.

use super::{OverSteps, Segment, Steps, Token};

/// Whether there is a path that both match.
pub(super) fn patterns(a: &[Segment], b: &[Segment], steps: &mut Steps) -> Result<bool, OverSteps> {
    steps.spend(1)?;
    if let ([.., Segment::Name(x)], [.., Segment::Name(y)]) = (a, b)
        && x != y
    {
        return Ok(false);
    }
    meet(a, b, &Segment::AnyNames, steps, names)
}

/// Whether there is a sequence that both patterns match, of which `many` stands for any number of parts; `one` says whether
/// there is a part that two other places match.
fn meet<T: PartialEq>(
    a: &[T],
    b: &[T],
    many: &T,
    steps: &mut Steps,
    one: impl Fn(&T, &T, &mut Steps) -> Result<bool, OverSteps>,
) -> Result<bool, OverSteps> {
    let wide = b.len() + 1;
    let (mut row, mut next) = (vec![false; wide], vec![false; wide]);
    row[0] = true;
    for i in 0..=a.len() {
        let mut any = false;
        steps.spend(1)?;
        for j in 0..wide {
            if !row[j] {
                continue;
            }
            any = true;
            steps.spend(1)?;
            let (mine, theirs) = (a.get(i), b.get(j));
            // Any number of parts: none, or one more that the other side takes.
            if mine == Some(many) {
                next[j] = true;
                if theirs.is_some() {
                    row[j + 1] = true;
                }
            }
            if theirs == Some(many) {
                row[j + 1] = true;
                if mine.is_some() {
                    next[j] = true;
                }
            }
            if let (Some(mine), Some(theirs)) = (mine, theirs)
                && !next[j + 1]
                && one(mine, theirs, steps)?
            {
                next[j + 1] = true;
            }
        }
        if i == a.len() {
            return Ok(row[b.len()]);
        }
        if !any {
            return Ok(false);
        }
        std::mem::swap(&mut row, &mut next);
        next.fill(false);
    }
    unreachable!("the last row was looked at")
}

/// Whether there is a name that both segments match.
fn names(a: &Segment, b: &Segment, steps: &mut Steps) -> Result<bool, OverSteps> {
    match (a, b) {
        // Both go on: said by the pairs on the way there.
        (Segment::AnyNames, _) | (_, Segment::AnyNames) => Ok(false),
        (Segment::Name(a), Segment::Name(b)) => {
            steps.spend(1)?;
            Ok(a == b)
        }
        (Segment::Open(tokens), Segment::Name(name)) | (Segment::Name(name), Segment::Open(tokens)) => {
            let chars: Vec<Token> = name.chars().map(Token::Char).collect();
            open(tokens, &chars, steps)
        }
        (Segment::Open(a), Segment::Open(b)) => open(a, b, steps),
    }
}

/// Whether there are characters that both match.
fn open(a: &[Token], b: &[Token], steps: &mut Steps) -> Result<bool, OverSteps> {
    meet(a, b, &Token::Star, steps, |a, b, _| Ok(one(a, b)))
}

/// Whether there is one character that both match; any number of them is said by the pairs on the way.
fn one(a: &Token, b: &Token) -> bool {
    match (a, b) {
        (Token::Star, _) | (_, Token::Star) => false,
        (Token::Any, _) | (_, Token::Any) => true,
        (Token::Char(a), Token::Char(b)) => a == b,
        (Token::Char(c), Token::Class(ranges)) | (Token::Class(ranges), Token::Char(c)) => {
            ranges.iter().any(|(low, high)| (low..=high).contains(&c))
        }
        (Token::Class(a), Token::Class(b)) => {
            let meets = |(low, high): &(char, char)| b.iter().any(|(from, to)| low <= to && from <= high);
            a.iter().any(meets)
        }
    }
}
