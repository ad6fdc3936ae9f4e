package main

import (
	"bytes"
	"strings"
	"testing"
)

// story is what go test -json printed for a package with a test of every kind,
// shortened, and then for a second run of one of its tests as another user.
const story = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestGood"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"    a_test.go:3: chatter\n"}
{"Action":"output","Package":"m/a","Test":"TestGood","Output":"--- PASS: TestGood (0.00s)\n"}
{"Action":"pass","Package":"m/a","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestTun","Output":"=== RUN   TestTun\n"}
{"Action":"output","Package":"m/a","Test":"TestTun","Output":"    a_test.go:9: no /dev/net/tun\n"}
{"Action":"output","Package":"m/a","Test":"TestTun","Output":"--- SKIP: TestTun (0.00s)\n"}
{"Action":"skip","Package":"m/a","Test":"TestTun","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestAsRootMount","Output":"    a_test.go:12: not root\n"}
{"Action":"skip","Package":"m/a","Test":"TestAsRootMount","Elapsed":0}
{"Action":"skip","Package":"m/a","Test":"TestSilent","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"=== RUN   TestBad\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"    a_test.go:20: 1, want 2\n"}
{"Action":"output","Package":"m/a","Test":"TestBad","Output":"--- FAIL: TestBad (0.00s)\n"}
{"Action":"fail","Package":"m/a","Test":"TestBad","Elapsed":0}
{"Action":"output","Package":"m/a","Output":"FAIL\n"}
{"Action":"output","Package":"m/a","Output":"FAIL\tm/a\t0.002s\n"}
{"Action":"fail","Package":"m/a","Elapsed":0.002}
# m/b
{"ImportPath":"m/b","Action":"build-output","Output":"b.go:1:1: syntax error\n"}
{"Action":"output","Package":"m/c","Output":"PASS\n"}
{"Action":"output","Package":"m/c","Output":"ok  \tm/c\t0.001s\n"}
{"Action":"pass","Package":"m/c","Elapsed":0.001}
{"Action":"output","Package":"m/d","Output":"?   \tm/d\t[no test files]\n"}
{"Action":"skip","Package":"m/d","Elapsed":0}
{"Action":"pass","Package":"m/a","Test":"TestAsRootMount","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestTun","Output":"    a_test.go:9: no /dev/net/tun\n"}
{"Action":"skip","Package":"m/a","Test":"TestTun","Elapsed":0}
`

func TestShownAsGoTestDoes(t *testing.T) {
	const want = `    a_test.go:20: 1, want 2
--- FAIL: TestBad (0.00s)
FAIL
FAIL	m/a	0.002s
# m/b
b.go:1:1: syntax error
ok  	m/c	0.001s
?   	m/d	[no test files]
`
	if got := shown(t); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestSummaryEndsWithPackages(t *testing.T) {
	const want = `2 tests skipped
skip m/a TestTun: a_test.go:9: no /dev/net/tun
skip m/a TestSilent: no reason given
FAIL	m/a	0.002s
ok  	m/c	0.001s
?   	m/d	[no test files]
`
	if got := shown(t, "-end"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestUnknownArgument(t *testing.T) {
	errs := bytes.Buffer{}
	if code := run([]string{"-x"}, strings.NewReader(""), &errs, &errs); code != 2 {
		t.Errorf("exit code %d, want 2: %s", code, &errs)
	}
}

func shown(t *testing.T, args ...string) string {
	t.Helper()
	out, errs := bytes.Buffer{}, bytes.Buffer{}
	if code := run(args, strings.NewReader(story), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	return out.String()
}
