"""The checks that admission can enforce, as Kyverno policies."""
