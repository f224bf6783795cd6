// The peer: reads the same streams as a Go program would, with net/http and bufio.Scanner,
// and keeps when each event came.
//
// usage: reader PORT STREAMS SECONDS [LAG]
// Opens STREAMS connections evenly over SECONDS; prints how many streams ended whole and, if asked,
// by how many ms the 99th percentile of events came later than they were sent, in the LAG
// seconds once all were open.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// late collects how many ms each event came late, if anybody asks.
var late struct {
	sync.Mutex
	asked        bool
	opened, over int64
	ms           []float64
}

func main() {
	late.asked = len(os.Args) > 4
	streams, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(os.Args[3], 64)
	if err != nil {
		log.Fatal(err)
	}
	url := "http://127.0.0.1:" + os.Args[1] + "/v1/completions"
	client := &http.Client{Transport: &http.Transport{}}
	start := time.Now()
	late.opened = start.UnixNano() + int64(seconds*1e9)
	if late.asked {
		lag, err := strconv.ParseFloat(os.Args[4], 64)
		if err != nil {
			log.Fatal(err)
		}
		late.over = late.opened + int64(lag*1e9)
	}
	var whole atomic.Int64
	var all sync.WaitGroup
	for i := 0; i < streams; i++ {
		due := time.Duration(float64(i) / float64(streams) * seconds * float64(time.Second))
		time.Sleep(time.Until(start.Add(due)))
		all.Add(1)
		go func() {
			defer all.Done()
			if read(client, url) {
				whole.Add(1)
			}
		}()
	}
	all.Wait()
	fmt.Println(whole.Load())
	if late.asked && len(late.ms) > 0 {
		slices.Sort(late.ms)
		fmt.Printf("%.3f\n", late.ms[len(late.ms)*99/100])
	}
}

func read(client *http.Client, url string) bool {
	answer, err := client.Post(url, "application/json", strings.NewReader("{}"))
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	arrivals := []time.Time{}
	var ms []float64
	done := false
	for lines.Scan() {
		data, found := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if found {
			now := time.Now()
			arrivals = append(arrivals, now)
			if late.asked {
				if at := bytes.IndexByte(data, '@'); at >= 0 {
					sent, _ := strconv.ParseInt(string(data[at+1:at+20]), 10, 64)
					if sent >= late.opened && sent <= late.over {
						ms = append(ms, float64(now.UnixNano()-sent)/1e6)
					}
				}
			}
			done = bytes.Equal(data, []byte("[DONE]"))
		}
	}
	late.Lock()
	late.ms = append(late.ms, ms...)
	late.Unlock()
	return done && lines.Err() == nil
}
