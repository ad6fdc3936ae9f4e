package main

import "testing"

func TestSummaries(t *testing.T) {
	for _, test := range []struct {
		name    string
		samples []float64
		want    summary
	}{
		{"none", nil, summary{}},
		{"one", []float64{7}, summary{7, 7, 7, 7}},
		{"two", []float64{3, 1}, summary{1, 1.5, 2, 2.5}},
		{"five, in any order", []float64{5, 3, 1, 4, 2}, summary{1, 2, 3, 4}},
		{"one far out", []float64{1, 1, 1, 1, 1000}, summary{1, 1, 1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := summarize(test.samples); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}

func TestSamplesKeepTheirOrder(t *testing.T) {
	samples := []float64{3, 1, 2}
	summarize(samples)
	if samples[0] != 3 {
		t.Errorf("sorted in place: %v", samples)
	}
}
