package shelf

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bryo/fsroot/image"
	"bryo/fsroot/tree"
	"bryo/fsroot/unpack"
)

// Request is an image that is to come on the shelf.
type Request struct {
	Shelf     *image.Shelf
	Image     *os.File // as of an unpack.Source
	Reference string
	Limits    tree.Limits
	IDMap     string // under which its layers are made
	Boot      string // this run of the machine
	Name      string // in full, instead of those that it has itself; or ""
	Stem      string // how it is called where it has no name: as its file, without an end
}

// Outcome is the image that came on the shelf.
type Outcome struct {
	ID     string
	Others []string // names that it has itself, but that are another image's
	Report tree.Report
}

// Import puts an image on the shelf. Layers that are there are not read.
func Import(r Request) (*Outcome, error) {
	adding, err := r.Shelf.Adding()
	if err != nil {
		return nil, err
	}
	defer adding.Close()
	all, err := openLayers(r.Shelf, r.IDMap, r.Boot)
	if err != nil {
		return nil, err
	}
	defer all.dir.Close()
	i := &importer{Request: r, layers: all, left: r.Limits.Budget()}
	err = unpack.Read(unpack.Source{Image: r.Image, Reference: r.Reference, Scratch: r.Shelf.Fd(), MostBytes: r.Limits.Bytes}, i)
	return &i.outcome, err
}

type importer struct {
	Request

	layers  *layers
	left    *tree.Budget
	failed  atomic.Bool // one layer: the others need not go on
	mu      sync.Mutex
	outcome Outcome
}

// TakeImage makes the layers of an image, several at the same time.
func (i *importer) TakeImage(from *unpack.Image) error {
	record, err := readConfig(from.Config)
	if err != nil {
		return err
	}
	var todo []int
	for n := range from.Layers {
		id := string(from.Layers[n].DiffID)
		if !slices.Contains(record.DiffIDs, id) && !i.layers.has(image.LayerName(id)) {
			todo = append(todo, n)
		}
		record.DiffIDs = append(record.DiffIDs, id)
	}
	if err := i.makeLayers(from, todo); err != nil {
		return err
	}
	return i.finish(record, from.Manifest, from.Config, from.Names)
}

func (i *importer) makeLayers(from *unpack.Image, todo []int) error {
	const most = 2 // windows of decompressors are large
	errs := make([]error, len(todo))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(most, runtime.NumCPU(), len(todo)) {
		workers.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(todo)) && !i.failed.Load(); n = next.Add(1) - 1 {
				if errs[n] = i.makeLayer(from, todo[n]); errs[n] != nil {
					i.failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, errFailed) {
			return err
		}
	}
	return nil
}

func (i *importer) makeLayer(from *unpack.Image, n int) error {
	l := &from.Layers[n]
	err := i.layers.add(image.LayerName(string(l.DiffID)), string(l.DiffID), func(fd int) (tree.Layer, error) {
		return i.extract(fd, func(apply func(io.Reader) error) error { return from.Apply(n, apply) })
	})
	if err != nil {
		return err
	}
	return i.Shelf.NoteDigest(string(l.Digest), string(l.DiffID))
}

// extract fills a directory with a layer, which read hands over.
func (i *importer) extract(fd int, read func(apply func(io.Reader) error) error) (tree.Layer, error) {
	to, err := tree.NewLayer(fd, i.left)
	if err != nil {
		return tree.Layer{}, err
	}
	to.Under(i.IDMap)
	if err := read(func(r io.Reader) error { return to.Apply(&unlessFailed{r, &i.failed}) }); err != nil {
		return tree.Layer{}, err
	}
	layer := to.Layer() // before others than root may be kept out
	if err := to.Finish(); err != nil {
		return tree.Layer{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.outcome.Report.Add(&to.Report)
	return layer, nil
}

// unlessFailed is a stream that ends when another layer of the image has failed.
type unlessFailed struct {
	from   io.Reader
	failed *atomic.Bool
}

var errFailed = errors.New("another layer is not to be had")

func (u *unlessFailed) Read(p []byte) (int, error) {
	if u.failed.Load() {
		return 0, errFailed
	}
	return u.from.Read(p)
}

// TakeFiles makes one layer of an archive of files, as podman import does.
func (i *importer) TakeFiles(r io.Reader) error {
	h, err := i.layers.begin("archive-" + strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	sum := sha256.New()
	content := io.TeeReader(r, sum)
	layer, err := i.extract(int(h.dir.Fd()), func(apply func(io.Reader) error) error {
		err := apply(content)
		if err == nil {
			_, err = io.Copy(io.Discard, content)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, h.discard())
	}
	id := fmt.Sprintf("sha256:%x", sum.Sum(nil))
	if name := image.LayerName(id); i.layers.has(name) {
		err = h.discard()
	} else {
		err = h.finish(name, &record{layer, id})
	}
	if err != nil {
		return err
	}
	config, err := configOf(id)
	if err != nil {
		return err
	}
	record, err := readConfig(config)
	if err != nil {
		return err
	}
	record.DiffIDs = []string{id}
	return i.finish(record, nil, config, nil)
}

// name adds an image under the names that it has where it comes from. One that
// makes no sense is left out.
func (i *importer) name(record *image.Image, from []string) (err error) {
	if i.Name != "" {
		name, err := image.Parse(i.Name)
		if err != nil {
			return err
		}
		return i.Shelf.Add(record, name)
	}
	if len(from) == 0 {
		from = []string{""}
	}
	names := map[bool][]image.Reference{}
	for _, text := range from {
		if name, said, err := image.InLayout(text, i.Stem); err == nil {
			names[said] = append(names[said], name)
		}
	}
	i.outcome.Others, err = i.Shelf.AddAs(record, names[false], names[true])
	return err
}

// finish writes down an image whose layers are complete.
func (i *importer) finish(record *image.Image, manifest, config []byte, names []string) (err error) {
	if err := i.stack(record); err != nil {
		return err
	}
	if record.ID, err = i.Shelf.AddBlob(config); err != nil {
		return err
	}
	if manifest != nil {
		sum, err := i.Shelf.AddBlob(manifest)
		if err != nil {
			return err
		}
		record.Digest = "sha256:" + sum
	}
	record.Imported = time.Now().UTC().Truncate(time.Second)
	i.outcome.ID = record.ID
	return i.name(record, names)
}

// stack decides what directories are stacked for an image.
func (i *importer) stack(record *image.Image) error {
	var shown []string
	for _, id := range slices.Backward(record.DiffIDs) { // the highest first
		if name := image.LayerName(id); !slices.Contains(shown, name) { // a lower one adds nothing
			shown = append(shown, name)
		}
	}
	if err := i.layers.settle(shown); err != nil {
		return err
	}
	stack := make([]tree.Stacked, len(shown))
	opaque := false
	for n, name := range shown {
		r, err := i.layers.record(name)
		if err == nil && !slices.Contains(record.DiffIDs, r.DiffID) {
			err = fmt.Errorf("layer %s is another one", name)
		}
		if err != nil {
			return err
		}
		fd, err := unix.Openat(i.layers.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open layer %s: %w", name, err)
		}
		defer unix.Close(fd)
		stack[len(shown)-1-n] = tree.Stacked{Layer: r.Layer, Fd: fd}
		record.Size += r.Bytes
		if !opaque {
			record.Layers = append(record.Layers, name)
		}
		opaque = opaque || r.Opaque
	}
	slices.Reverse(record.Layers)
	return i.seam(record, stack)
}

// seam adds the layer that an image needs where its own leave directories out.
func (i *importer) seam(record *image.Image, stack []tree.Stacked) error {
	seam, err := tree.FindSeam(stack)
	if err != nil || seam.Empty() {
		return err
	}
	name := image.LayerName("seam of " + strings.Join(record.DiffIDs, " "))
	err = i.layers.add(name, "", func(fd int) (tree.Layer, error) { return tree.Layer{}, seam.Write(fd) })
	if err == nil {
		err = i.layers.settle([]string{name})
	}
	record.Layers = append(record.Layers, name)
	return err
}
