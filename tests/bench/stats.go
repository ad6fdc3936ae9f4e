package main

import "slices"

// summary has the figures of a row's samples.
type summary struct{ min, p25, median, p75 float64 }

func summarize(samples []float64) summary {
	sorted := slices.Sorted(slices.Values(samples))
	return summary{quantile(sorted, 0), quantile(sorted, 0.25), quantile(sorted, 0.5), quantile(sorted, 0.75)}
}

// quantile returns the q-quantile, 0 <= q <= 1, of ascending samples: between
// two of them the straight line, 0 of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	below := int(at)
	if below == len(sorted)-1 {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}
