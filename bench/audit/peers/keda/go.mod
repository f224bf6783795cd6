// KEDA, pinned: kubeconform needs the schema of its ScaledObject, and fetches it by default.
module drainproof.dev/bench/audit/peers/keda

go 1.25

require github.com/kedacore/keda/v2 v2.21.0
